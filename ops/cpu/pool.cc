#include "pool.h"

#include <algorithm>
#include <cstdlib>
#include <system_error>
#include <thread>

#include <pthread.h>
#include <signal.h>
#if defined(__linux__)
#include <sched.h>
#endif

#include "../ranges.h"

namespace cb_keras {
namespace {

struct Loop {
  Ranges ranges;
  // Under the pool's mutex:
  int64_t wanted = 0;  // threads that may still join; while there are any, it is in the list
  int64_t joined = 0;  // threads that have, and have not left
  Loop* after = nullptr;
};

// Plain pthreads: std::condition_variable and std::call_once ask for a newer libstdc++ and glibc.
class Lock {
 public:
  explicit Lock(pthread_mutex_t* mutex) : mutex_(mutex) { pthread_mutex_lock(mutex_); }
  ~Lock() { pthread_mutex_unlock(mutex_); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  void Wait(pthread_cond_t* condition) { pthread_cond_wait(condition, mutex_); }

 private:
  pthread_mutex_t* const mutex_;
};

class Pool {
 public:
  void For(int64_t most, int64_t n, int64_t cost, CbkBody body, void* work) {
    const int64_t helpers = HelpersOf(n, cost, std::min(threads_, most));
    if (helpers < 1) return body(work, 0, n);
    Loop loop{{n, cost, helpers, body, work}};
    {
      Lock lock(&mutex_);
      Start();
      loop.wanted = std::min(helpers, started_);
      if (loop.wanted > 0) Add(&loop);
    }
    for (int64_t i = 0; i < helpers; ++i) pthread_cond_signal(&wake_);
    loop.ranges.Run();
    Lock lock(&mutex_);
    if (loop.wanted > 0) Remove(&loop);
    while (loop.joined > 0) lock.Wait(&left_);
  }

 private:
  static int64_t NumThreads() {
    const char* asked = std::getenv("CB_KERAS_THREADS");
    const long number = asked == nullptr ? 0 : std::strtol(asked, nullptr, 10);
    if (number > 0) return number;
#if defined(__linux__)
    cpu_set_t usable;
    if (sched_getaffinity(0, sizeof(usable), &usable) == 0) return CPU_COUNT(&usable);
#endif
    return std::max<int64_t>(std::thread::hardware_concurrency(), 1);
  }

  // Starts the threads, as many of them as the system gives. Signals are for the process' own.
  void Start() {
    if (started_ >= threads_ - 1 || refused_) return;
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);  // of this thread, and of those that it starts
    try {
      for (; started_ < threads_ - 1; ++started_) std::thread([this] { Work(); }).detach();
    } catch (const std::system_error&) {
      refused_ = true;
    }
    sigprocmask(SIG_SETMASK, &before, nullptr);
  }

  void Work() {
    pthread_mutex_lock(&mutex_);
    for (;;) {
      while (first_ == nullptr) pthread_cond_wait(&wake_, &mutex_);
      Loop* loop = first_;
      ++loop->joined;
      if (--loop->wanted == 0) Remove(loop);
      pthread_mutex_unlock(&mutex_);
      loop->ranges.Run();
      pthread_mutex_lock(&mutex_);
      if (--loop->joined == 0) pthread_cond_broadcast(&left_);
    }
  }

  void Add(Loop* loop) {
    Loop** place = &first_;
    while (*place != nullptr) place = &(*place)->after;
    *place = loop;
  }

  void Remove(Loop* loop) {
    Loop** place = &first_;
    while (*place != loop) place = &(*place)->after;
    *place = loop->after;
  }

  const int64_t threads_ = NumThreads();  // the caller included
  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t wake_ = PTHREAD_COND_INITIALIZER, left_ = PTHREAD_COND_INITIALIZER;
  Loop* first_ = nullptr;  // of those that threads may still join
  int64_t started_ = 0;
  bool refused_ = false;
};

Pool* pool;

// When the library is loaded, without threads yet; and in a child, which has none of its parent's
// threads, and where the mutex may be held for good. Never destroyed: threads may outlive whatever
// a process destroys at its end.
void MakePool() { pool = new Pool; }

const bool made = (MakePool(), pthread_atfork(nullptr, nullptr, MakePool) == 0);

}  // namespace

void ParallelForOfOwnPool(void* most, int64_t n, int64_t cost, CbkBody body, void* work) {
  const int64_t limit = most == nullptr ? INT64_MAX : *static_cast<const int64_t*>(most);
  pool->For(limit, n, cost, body, work);
}

}  // namespace cb_keras
