// Loops on the threads of XLA's pool.

#ifndef CB_KERAS_OPS_XLA_THREADS_H_
#define CB_KERAS_OPS_XLA_THREADS_H_

#include <condition_variable>
#include <memory>
#include <mutex>

#include "../ranges.h"
#include "xla/ffi/api/ffi.h"

namespace cb_keras {

// A loop that threads of XLA's pool share with the caller. Those that come late find it closed:
// the caller waits for nobody who has not begun, or a pool whose threads all wait would stand still.
class SharedLoop {
 public:
  SharedLoop(int64_t n, int64_t cost, int64_t helpers, CbkBody body, void* work)
      : ranges_(n, cost, helpers, body, work) {}

  void Help() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (closed_) return;
      ++helping_;
    }
    ranges_.Run();
    std::lock_guard<std::mutex> lock(mutex_);
    if (--helping_ == 0) left_.notify_one();
  }

  void RunAndWait() {
    ranges_.Run();
    std::unique_lock<std::mutex> lock(mutex_);
    closed_ = true;
    left_.wait(lock, [&] { return helping_ == 0; });
  }

 private:
  Ranges ranges_;
  std::mutex mutex_;
  std::condition_variable left_;
  int64_t helping_ = 0;
  bool closed_ = false;
};

// A CbkParallelFor on XLA's own threads.
inline void OnThreadsOf(void* pool, int64_t n, int64_t cost, CbkBody body, void* work) {
  auto& threads = *static_cast<::xla::ffi::ThreadPool*>(pool);
  // Of less than two ranges nothing is asked of the pool, which takes a call of XLA.
  const bool is_small = RangesOf(n, cost) < 2;
  const int64_t helpers = is_small ? 0 : HelpersOf(n, cost, threads.num_threads());
  if (helpers < 1) return body(work, 0, n);
  const auto loop = std::make_shared<SharedLoop>(n, cost, helpers, body, work);
  for (int64_t i = 0; i < helpers; ++i) threads.Schedule([loop] { loop->Help(); });
  loop->RunAndWait();
}

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_XLA_THREADS_H_
