// The CPU's side of class_balanced_loss.h: rows are shared among threads, and handed to the kernels
// of this processor.

#include <atomic>

#include "../class_balanced_loss.h"
#include "pool.h"
#include "rows.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace cb_keras {
namespace {

// A gradient larger than this is written past the caches: whoever reads it next would not find it
// there anyway.
constexpr int64_t kStreamBytes = int64_t{32} << 20;

// Fresh memory for a large gradient comes in pages that the kernel must clear one by one; huge
// pages make that a few hundred times fewer.
void AdviseHugePages(void* data, int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t kPage = uintptr_t{2} << 20;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + kPage - 1) & ~(kPage - 1);
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) & ~(kPage - 1);
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)data;
  (void)bytes;
#endif
}

struct LossWork {
  const CbkProblem& problem;
  const RowKernels& kernels;
  bool stream;
  std::atomic<int64_t> first_invalid;

  static void Run(void* self, int64_t begin, int64_t end) {
    LossWork& work = *static_cast<LossWork*>(self);
    const int64_t row = work.kernels.loss(work.problem, begin, end, work.stream);
    if (row < 0) return;
    int64_t known = work.first_invalid.load();
    while (row < known && !work.first_invalid.compare_exchange_weak(known, row)) {
    }
  }
};

struct ScaleWork {
  const CbkScaling& scaling;
  const RowKernels& kernels;

  static void Run(void* self, int64_t begin, int64_t end) {
    const ScaleWork& work = *static_cast<ScaleWork*>(self);
    work.kernels.scale(work.scaling, begin, end);
  }
};

}  // namespace
}  // namespace cb_keras

extern "C" int64_t CbkCpuLoss(const CbkProblem* problem, CbkParallelFor parallel_for, void* pool) {
  using namespace cb_keras;
  if (problem->rows == 0) return -1;
  const int64_t size = problem->float_type == kCbkFloat32 ? 4 : 2;
  const int64_t bytes = problem->rows * problem->classes * size;
  const bool stream = problem->gradient != nullptr && bytes >= kStreamBytes;
  if (stream) AdviseHugePages(problem->gradient, bytes);
  LossWork work{*problem, BestRowKernels(), stream, {problem->rows}};
  if (parallel_for == nullptr) parallel_for = ParallelForOfOwnPool;
  parallel_for(pool, problem->rows, 4 * problem->classes + 50, LossWork::Run, &work);
  const int64_t row = work.first_invalid.load();
  return row == problem->rows ? -1 : row;
}

extern "C" void CbkCpuScale(const CbkScaling* scaling, CbkParallelFor parallel_for, void* pool) {
  using namespace cb_keras;
  if (scaling->rows == 0) return;
  ScaleWork work{*scaling, BestRowKernels()};
  if (parallel_for == nullptr) parallel_for = ParallelForOfOwnPool;
  parallel_for(pool, scaling->rows, scaling->classes + 20, ScaleWork::Run, &work);
}

extern "C" int CbkCpuScalesNothing(const CbkScaling* scaling) {
  return cb_keras::ScalesNothing(*scaling);
}
