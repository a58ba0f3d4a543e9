// Checks the CPU kernels without TensorFlow, which the sanitizers can't see into, on threads that
// share the rows as TensorFlow's workers do:
//
//   python -m ops.check.build cpu address,undefined check      or: thread
//   ./check [--seed=N]
//
// The kernels are the processor's best, or those that CB_KERAS_CPU_KERNELS names; the core's own
// pool has four threads, or as many as CB_KERAS_THREADS says.
// Exit status: 0 if all checks passed, else not.

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "../class_balanced_loss.h"
#include "../cpu/rows.h"
#include "compare.h"
#include "far_rows.h"
#include "guarded_array.h"
#include "own_pool.h"

namespace cb_keras {
namespace check {
namespace {

constexpr int kThreads = 4;

// Calls work() on all threads at once.
template <typename Work>
void OnAllThreads(const Work& work) {
  std::atomic<int> missing{kThreads};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      // Relaxed: it orders nothing, so that it hides no race.
      missing.fetch_sub(1, std::memory_order_relaxed);
      while (missing.load(std::memory_order_relaxed) > 0) std::this_thread::yield();
      work();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Calls work(begin, end) on blocks of rows, which the threads take in turn.
template <typename Work>
void Shard(int64_t rows, const Work& work) {
  const int64_t block = std::max<int64_t>(1, rows / (4 * kThreads));
  std::atomic<int64_t> next{0};
  OnAllThreads([&] {
    for (;;) {
      const int64_t begin = next.fetch_add(block, std::memory_order_relaxed);
      if (begin >= rows) return;
      work(begin, std::min(begin + block, rows));
    }
  });
}

// A CbkParallelFor on those threads.
void OnThreads(void*, int64_t n, int64_t, CbkBody body, void* work) {
  Shard(n, [&](int64_t begin, int64_t end) { body(work, begin, end); });
}

// The first use of the kernels, which chooses them, by several ops at once.
void CheckChoice(Report* report) {
  std::atomic<const char*> names[kThreads] = {};
  std::atomic<int> next{0};
  OnAllThreads([&] {
    names[next.fetch_add(1, std::memory_order_relaxed)] = CbkCpuInstructionSet();
  });
  for (const auto& name : names) {
    report->Add(name.load() == BestRowKernels().instruction_set, "one choice for all threads");
  }
}

int64_t FirstInvalidOf(const HostProblem& host, int64_t begin, int64_t end) {
  if (host.what.labels_type == kCbkMultiHot) return -1;
  for (int64_t row = begin; row < end; ++row) {
    if (host.IsIgnored(row)) continue;
    if (host.ClassId(row) < 0 || host.ClassId(row) >= host.what.classes) return row;
  }
  return -1;
}

// By the kernels themselves, or as others call them: on threads of theirs, or on the core's own.
enum Way { kKernels, kTheirThreads, kOpenMp, kOwnPool };
constexpr int kWays = 4;

// As GOMP_parallel: the function on each thread.
void OpenMpParallel(void (*function)(void*), void* data, unsigned, unsigned) {
  OnAllThreads([&] { function(data); });
}

// How a loop is shared in each way, and what it is given for that.
struct Threads {
  explicit Threads(Way way)
      : parallel_for(way == kTheirThreads ? OnThreads : way == kOpenMp ? CbkForOfOpenMp : nullptr),
        pool(way == kOpenMp ? &openmp : nullptr) {}

  CbkOpenMp openmp = {OpenMpParallel, kThreads};
  CbkParallelFor parallel_for;
  void* pool;
};

template <typename T>
GuardedArray Guarded(const std::vector<T>& array) {
  return GuardedArray(array.size() * sizeof(T), array.data());
}

// What the kernels say and write, and whether they find the first invalid labels.
Output RunLoss(const HostProblem& host, Way way, bool* invalid_found) {
  const Case& what = host.what;
  const size_t gradient_bytes =
      static_cast<size_t>(what.gradient * what.rows * what.classes * FloatBytes(what.float_type));
  const GuardedArray logits = Guarded(host.logits), labels = Guarded(host.labels);
  const ClassArrays<GuardedArray> of_classes = {Guarded(host.class_weights), Guarded(host.factor),
                                                Guarded(host.offset), Guarded(host.margin)};
  const GuardedArray upstream = Guarded(host.upstream);
  const GuardedArray losses(static_cast<size_t>(what.rows) * sizeof(float));
  const GuardedArray gradient(gradient_bytes);
  const CbkProblem problem =
      ProblemIn(what, logits, labels, of_classes, upstream, losses, gradient);
  if (way == kKernels) {
    const bool stream = what.gradient && Random{what.seed}.Bits(0) % 2 == 0;
    std::atomic<bool> found{true};
    Shard(what.rows, [&](int64_t begin, int64_t end) {
      const int64_t invalid = BestRowKernels().loss(problem, begin, end, stream);
      if (invalid != FirstInvalidOf(host, begin, end)) {
        found.store(false, std::memory_order_relaxed);
      }
    });
    *invalid_found = found.load();
  } else {
    Threads threads(way);
    const int64_t invalid = CbkCpuLoss(&problem, threads.parallel_for, threads.pool);
    *invalid_found = invalid == FirstInvalidOf(host, 0, what.rows);
  }
  Output output;
  output.losses = AsFloats(losses.Contents());
  output.gradient = gradient.Contents();
  output.guards_hold = losses.GuardHolds() && gradient.GuardHolds();
  return output;
}

void CheckLoss(const Case& what, Way way, Report* report) {
  const HostProblem host = MakeProblem(what);
  bool invalid_found;
  const Output output = RunLoss(host, way, &invalid_found);
  report->Add(invalid_found, "first invalid labels: " + what.Name());
  CompareOutput(host, output, report);
}

// Several callers at once, whose loops the pool's threads take in turn; some are large, some not.
void CheckManyCallers(uint64_t seed, Report* report) {
  std::vector<HostProblem> hosts;
  for (int i = 0; i < 4 * kThreads; ++i) {
    const int64_t rows = i % 4 == 3 ? 5 : 700 + 100 * (i % 3);
    hosts.push_back(MakeProblem({i % kCbkLossCount, kCbkFloat32, kCbkInt64, true, kRowUpstream,
                                 rows, 65, 1.0f, seed + static_cast<uint64_t>(i)}));
  }
  std::vector<Output> outputs(hosts.size());
  std::vector<char> found(hosts.size());
  std::atomic<size_t> next{0};
  OnAllThreads([&] {
    for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < hosts.size();) {
      bool invalid_found;
      outputs[i] = RunLoss(hosts[i], kOwnPool, &invalid_found);
      found[i] = invalid_found;
    }
  });
  for (size_t i = 0; i < hosts.size(); ++i) {
    report->Add(found[i], "first invalid of many callers: " + hosts[i].what.Name());
    CompareOutput(hosts[i], outputs[i], report);
  }
}

void CheckScale(const ScaleCase& what, Way way, Report* report) {
  const HostScaling host = MakeScaling(what);
  const GuardedArray values = Guarded(host.values);
  const GuardedArray upstream = Guarded(host.upstream), applied = Guarded(host.applied);
  const CbkScaling scaling = {what.float_type,
                              what.rows,
                              what.classes,
                              static_cast<const float*>(upstream.data()),
                              static_cast<const float*>(applied.data()),
                              what.applied_is_scalar,
                              values.data()};
  const bool nothing = CbkCpuScalesNothing(&scaling);
  if (way == kKernels) {
    Shard(what.rows, [&](int64_t begin, int64_t end) {
      BestRowKernels().scale(scaling, begin, end);
    });
  } else {
    Threads threads(way);
    CbkCpuScale(&scaling, threads.parallel_for, threads.pool);
  }
  bool equal = true;
  for (size_t i = 0; i < host.upstream.size(); ++i) {
    equal = equal && host.upstream[i] == host.applied[what.applied_is_scalar ? 0 : i];
  }
  report->Add(nothing == equal, "scales nothing: " + what.Name());
  CompareScaled(host, values.Contents(), values.GuardHolds(), report);
}

struct Shape {
  int64_t rows, classes;
};
#if defined(__SANITIZE_THREAD__)
// It sees how threads share rows, which all sizes have in common, and is slow.
const Shape kShapes[] = {{0, 10}, {127, 10}, {61, 33}, {5, 1025}, {900, 65}};
#else
// Around the sizes of vectors and of tiles, and a row that is larger than most caches.
const Shape kShapes[] = {{0, 10},  {1, 1},   {127, 1},  {127, 2},   {127, 10}, {61, 16},
                         {61, 31}, {61, 33}, {900, 65}, {5, 1023},  {5, 1025}, {7, 2048},
                         {6, 8142}, {3, 100003}, {1, 1000003}};
#endif

// All losses, types, labels, with and without gradient; upstream factors, gamma and ways in turn.
void CheckShape(const Shape& shape, uint64_t seed, Report* report) {
  static const float gammas[] = {1.0f, 2.0f, 0.5f, 5.0f, 0.0f, 1.7f, 50.0f, 1e4f};
  static uint64_t turn = 0;
  for (int loss = 0; loss < kCbkLossCount; ++loss) {
    for (int type = kCbkFloat32; type <= kCbkFloat16; ++type) {
      for (int labels = kCbkInt32; labels <= kCbkDoubleIds; ++labels) {
        // Of the huge row one type of ids in turn is enough.
        if (shape.classes > 100000 && labels != kCbkMultiHot && labels != kCbkInt64) continue;
        for (const bool gradient : {true, false}) {
          ++turn;
          CheckLoss({loss, type, labels, gradient, static_cast<int>(turn / 2 % 3), shape.rows,
                     shape.classes, gammas[turn / 2 % 8], seed + turn},
                    static_cast<Way>((turn + turn / 16) % kWays), report);
        }
      }
    }
  }
}

#if !defined(__SANITIZE_THREAD__)  // no two threads here
// More than 2^31 elements, and more than 2^31 rows.
void CheckFarRows(uint64_t seed, Report* report) {
  constexpr int64_t kLimit = int64_t{1} << 31;
  const RowKernels& kernels = BestRowKernels();
  for (const int64_t classes : {1, 3, 33, 8142}) {
    const int64_t rows = kLimit / classes + 150;
    for (int loss = 0; loss < kCbkLossCount; ++loss) {
      for (const int labels : {int{kCbkInt64}, int{kCbkMultiHot}}) {
        const Case what = {loss, kCbkFloat32, labels, true, kRowUpstream, 70, classes,
                           1.0f, ++seed};
        const int64_t invalid = FirstInvalidOf(MakeProblem(what), 0, what.rows);
        CheckFarLoss(what, rows, [&](const CbkProblem& problem, int64_t begin) {
          const int64_t found = kernels.loss(problem, begin, rows, seed % 2 == 0);
          report->Add(found == (invalid < 0 ? -1 : begin + invalid),
                      "first invalid of the far rows: " + what.Name());
        }, report);
      }
    }
    const ScaleCase scale = {kCbkFloat32, false, 70, classes, ++seed};
    CheckFarScale(scale, rows, [&](const CbkScaling& scaling, int64_t begin) {
      kernels.scale(scaling, begin, rows);
    }, report);
  }
}
#endif

int Main(int count, char** arguments) {
  if (getenv("CB_KERAS_THREADS") == nullptr) {  // before the pool is made, so in another program
    setenv("CB_KERAS_THREADS", "4", 1);
    execv("/proc/self/exe", arguments);
    perror("execv");
    return 1;
  }
  uint64_t seed = 1;
  for (int i = 1; i < count; ++i) {
    if (strncmp(arguments[i], "--seed=", 7) != 0) {
      fprintf(stderr, "unknown argument %s; see the top of ops/check/cpu_check.cc\n", arguments[i]);
      return 1;
    }
    seed = strtoull(arguments[i] + 7, nullptr, 10);
  }
  Report report;
  CheckChoice(&report);
  CheckOwnPool(&report);
  printf("CPU kernels: %s, --seed=%llu\n", CbkCpuInstructionSet(),
         static_cast<unsigned long long>(seed));
#if !defined(__SANITIZE_THREAD__)
  CheckFarRows(seed, &report);
#endif
  CheckManyCallers(seed, &report);
  for (const Shape& shape : kShapes) {
    CheckShape(shape, seed, &report);
    for (int type = kCbkFloat32; type <= kCbkFloat16; ++type) {
      for (const bool scalar : {false, true}) {
        if (shape.classes <= 100000) {
          for (const Way way : {kKernels, kTheirThreads, kOpenMp, kOwnPool}) {
            CheckScale({type, scalar, shape.rows, shape.classes, ++seed}, way, &report);
          }
        }
      }
    }
  }
  return report.Finish();
}

}  // namespace
}  // namespace check
}  // namespace cb_keras

int main(int count, char** arguments) { return cb_keras::check::Main(count, arguments); }
