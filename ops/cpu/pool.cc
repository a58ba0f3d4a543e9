#include "pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace cb_keras {
namespace {

// A range of less work than this is not worth waking a thread for (cycles).
constexpr int64_t kSmallestRange = 50000;
// Ranges for each thread, so that one that was late, or was interrupted, leaves its work to others.
constexpr int64_t kRangesPerThread = 4;

struct Loop {
  CbkBody body;
  void* work;
  int64_t n;
  int64_t range;
  std::atomic<int64_t> next{0};
  // Under the pool's mutex:
  int64_t wanted = 0;  // threads that may still join
  int64_t joined = 0;  // threads that have, and have not left

  void Run() {
    for (int64_t begin; (begin = next.fetch_add(range)) < n;) {
      body(work, begin, std::min(begin + range, n));
    }
  }
};

class Pool {
 public:
  // Never destroyed: its threads may outlive whatever the process destroys at its end.
  static Pool& Get() {
    static std::once_flag once;
    std::call_once(once, [] {
      current_ = new Pool;
#if defined(__unix__) || defined(__APPLE__)
      // The threads are not in the child, and the mutex may be held there for good.
      pthread_atfork(nullptr, nullptr, [] { current_ = new Pool; });
#endif
    });
    return *current_;
  }

  void For(int64_t most, int64_t n, int64_t cost, CbkBody body, void* work) {
    const int64_t total = n * std::max<int64_t>(cost, 1);
    const int64_t helpers = std::min({threads_ - 1, most - 1, total / kSmallestRange - 1});
    if (helpers < 1 || n < 2) return body(work, 0, n);
    const int64_t ranges = std::min({n, (helpers + 1) * kRangesPerThread, total / kSmallestRange});
    Loop loop{body, work, n, (n + ranges - 1) / ranges};
    {
      std::lock_guard<std::mutex> lock(mutex_);
      Start();
      loop.wanted = std::min(helpers, started_);
      if (loop.wanted > 0) loops_.push_back(&loop);
    }
    for (int64_t i = 0; i < helpers; ++i) wake_.notify_one();
    loop.Run();
    std::unique_lock<std::mutex> lock(mutex_);
    const auto place = std::find(loops_.begin(), loops_.end(), &loop);
    if (place != loops_.end()) loops_.erase(place);
    left_.wait(lock, [&] { return loop.joined == 0; });
  }

 private:
  static int64_t NumThreads() {
    const char* asked = std::getenv("CB_KERAS_THREADS");
    const long number = asked == nullptr ? 0 : std::strtol(asked, nullptr, 10);
    if (number > 0) return number;
    return std::max<int64_t>(std::thread::hardware_concurrency(), 1);
  }

  // Starts the threads, as many of them as the system gives.
  void Start() {
    try {
      for (; started_ < threads_ - 1 && !refused_; ++started_) {
        std::thread([this] { Work(); }).detach();
      }
    } catch (const std::system_error&) {
      refused_ = true;
    }
  }

  void Work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return !loops_.empty(); });
      Loop* loop = loops_.front();
      ++loop->joined;
      if (--loop->wanted == 0) loops_.pop_front();
      lock.unlock();
      loop->Run();
      lock.lock();
      if (--loop->joined == 0) left_.notify_all();
    }
  }

  static Pool* current_;

  const int64_t threads_ = NumThreads();  // the caller included
  std::mutex mutex_;
  std::condition_variable wake_, left_;
  std::deque<Loop*> loops_;  // those that threads may still join
  int64_t started_ = 0;
  bool refused_ = false;
};

Pool* Pool::current_ = nullptr;

}  // namespace

void ParallelForOfOwnPool(void* most, int64_t n, int64_t cost, CbkBody body, void* work) {
  const int64_t limit = most == nullptr ? INT64_MAX : *static_cast<const int64_t*>(most);
  Pool::Get().For(limit, n, cost, body, work);
}

}  // namespace cb_keras
