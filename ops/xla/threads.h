// Loops on the threads of XLA's pool.

#ifndef CB_KERAS_OPS_XLA_THREADS_H_
#define CB_KERAS_OPS_XLA_THREADS_H_

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "../class_balanced_loss.h"
#include "xla/ffi/api/ffi.h"

namespace cb_keras {

// A loop that threads of XLA's pool share with the caller. Those that come late find it closed:
// the caller waits for nobody who has not begun, or a pool whose threads all wait would stand still.
class SharedLoop {
 public:
  SharedLoop(int64_t n, int64_t range, CbkBody body, void* work)
      : n_(n), range_(range), body_(body), work_(work) {}

  void Help() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (closed_) return;
      ++helping_;
    }
    Run();
    std::lock_guard<std::mutex> lock(mutex_);
    if (--helping_ == 0) left_.notify_one();
  }

  void RunAndWait() {
    Run();
    std::unique_lock<std::mutex> lock(mutex_);
    closed_ = true;
    left_.wait(lock, [&] { return helping_ == 0; });
  }

 private:
  void Run() {
    for (int64_t begin; (begin = next_.fetch_add(range_)) < n_;) {
      body_(work_, begin, std::min(begin + range_, n_));
    }
  }

  const int64_t n_, range_;
  const CbkBody body_;
  void* const work_;
  std::atomic<int64_t> next_{0};
  std::mutex mutex_;
  std::condition_variable left_;
  int64_t helping_ = 0;
  bool closed_ = false;
};

// A CbkParallelFor on XLA's own threads; in ranges as in ../cpu/pool.cc.
inline void OnThreadsOf(void* pool, int64_t n, int64_t cost, CbkBody body, void* work) {
  constexpr int64_t kSmallestRange = 50000;  // cycles
  constexpr int64_t kRangesPerThread = 4;
  const int64_t pieces = n * std::max<int64_t>(cost, 1) / kSmallestRange;
  if (pieces < 2 || n < 2) return body(work, 0, n);
  auto& threads = *static_cast<::xla::ffi::ThreadPool*>(pool);
  const int64_t helpers = std::min(threads.num_threads() - 1, pieces - 1);
  if (helpers < 1) return body(work, 0, n);
  const int64_t ranges = std::min({n, (helpers + 1) * kRangesPerThread, pieces});
  const auto loop = std::make_shared<SharedLoop>(n, (n + ranges - 1) / ranges, body, work);
  for (int64_t i = 0; i < helpers; ++i) threads.Schedule([loop] { loop->Help(); });
  loop->RunAndWait();
}

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_XLA_THREADS_H_
