// Checks the core's own threads by themselves: which of them take part, and that each item of a loop
// is done once.

#ifndef CB_KERAS_OPS_CHECK_OWN_POOL_H_
#define CB_KERAS_OPS_CHECK_OWN_POOL_H_

#include <stdint.h>
#include <stdlib.h>

#include <atomic>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "../cpu/pool.h"
#include "compare.h"

namespace cb_keras {
namespace check {

constexpr int64_t kCostly = 1000000;  // cycles of an item that is worth a thread

// A loop that counts how often each item is done, and by whom. Its first `wait_for` threads wait for
// each other, so that none of them does it all.
struct CountingLoop {
  explicit CountingLoop(int64_t n, size_t wait_for = 1) : times(n), wait_for(wait_for) {}

  std::vector<std::atomic<int>> times;
  const size_t wait_for;
  std::mutex mutex;
  std::set<std::thread::id> threads;

  static void Run(void* self, int64_t begin, int64_t end) {
    CountingLoop& loop = *static_cast<CountingLoop*>(self);
    for (int64_t i = begin; i < end; ++i) ++loop.times[static_cast<size_t>(i)];
    for (bool first = true;; first = false) {
      {
        std::lock_guard<std::mutex> lock(loop.mutex);
        if (first) loop.threads.insert(std::this_thread::get_id());
        if (loop.threads.size() >= loop.wait_for) return;
      }
      std::this_thread::yield();
    }
  }

  bool EachOnce() const {
    for (const auto& number : times) {
      if (number.load() != 1) return false;
    }
    return true;
  }
};

inline void CheckOwnPool(Report* report) {
  const size_t number = strtoul(getenv("CB_KERAS_THREADS"), nullptr, 10);
  for (const int64_t n : {1, 2, 3, 4, 7, 100, 1001}) {
    CountingLoop loop(n);
    ParallelForOfOwnPool(nullptr, n, kCostly, CountingLoop::Run, &loop);
    report->Add(loop.EachOnce(), "each item once, of " + std::to_string(n));
  }
  CountingLoop all(1000, number);
  ParallelForOfOwnPool(nullptr, 1000, kCostly, CountingLoop::Run, &all);
  report->Add(all.EachOnce() && all.threads.size() == number, "all threads take part");
  for (const int64_t most : {1, 2}) {
    CountingLoop few(1000);
    ParallelForOfOwnPool(const_cast<int64_t*>(&most), 1000, kCostly, CountingLoop::Run, &few);
    report->Add(few.EachOnce() && few.threads.size() <= static_cast<size_t>(most),
                "at most as many threads as the caller wants");
  }
  CountingLoop cheap(1000);
  ParallelForOfOwnPool(nullptr, 1000, 1, CountingLoop::Run, &cheap);
  report->Add(cheap.EachOnce() && cheap.threads.count(std::this_thread::get_id()) == 1 &&
                  cheap.threads.size() == 1,
              "no thread is woken for little work");
}

}  // namespace check
}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CHECK_OWN_POOL_H_
