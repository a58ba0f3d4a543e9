// Factors, offsets and margins of the classes: what the softmax losses take in place of logits.

#ifndef CB_KERAS_OPS_CPU_ADJUSTMENT_H_
#define CB_KERAS_OPS_CPU_ADJUSTMENT_H_

#include <stdint.h>

#include "../class_balanced_loss.h"
#include "simd.h"
#include "terms.h"

namespace cb_keras {
namespace CBK_ISA {

inline bool AdjustsLogits(const CbkProblem& problem) {
  return CbkOfSoftmax(problem.loss) && (problem.factor != nullptr || problem.offset != nullptr ||
                                        problem.margin != nullptr);
}

// factor * z + offset of n classes from `start` on; `out` may be z.
inline void AdjustTile(const CbkProblem& problem, int64_t start, int n, const float* z,
                       float* out) {
  const float* const factors = problem.factor == nullptr ? nullptr : problem.factor + start;
  const float* const offsets = problem.offset == nullptr ? nullptr : problem.offset + start;
  const Vec zero = Vec::Set(0.0f), one = Vec::Set(1.0f);
  ForEachVec(n, [&](int i, int lanes, auto whole) {
    const Vec factor = factors == nullptr ? one : LoadVec(factors + i, lanes, 1.0f, whole);
    const Vec offset = offsets == nullptr ? zero : LoadVec(offsets + i, lanes, 0.0f, whole);
    StoreVec(MulAdd(factor, LoadVec(z + i, lanes, 0.0f, whole), offset), out + i, lanes, whole);
  });
}

// From the gradient by what AdjustTile made to that by the logits.
inline void TimesFactors(const CbkProblem& problem, int64_t start, int n, float* gradient) {
  if (problem.factor == nullptr) return;
  const float* const factors = problem.factor + start;
  ForEachVec(n, [&](int i, int lanes, auto whole) {
    const Vec factor = LoadVec(factors + i, lanes, 1.0f, whole);
    StoreVec(factor * LoadVec(gradient + i, lanes, 0.0f, whole), gradient + i, lanes, whole);
  });
}

// The same of n rows of few classes that are turned, one line of memory a class; their class ids.
template <int kRows>
void AdjustColumns(const CbkProblem& problem, int n, const float* ids, float (*columns)[kRows]) {
  for (int c = 0; c < static_cast<int>(problem.classes); ++c) {
    const Vec factor = Vec::Set(problem.factor == nullptr ? 1.0f : problem.factor[c]);
    const Vec offset = Vec::Set(problem.offset == nullptr ? 0.0f : problem.offset[c]);
    for (int r = 0; r < n; r += Vec::kLanes) {
      MulAdd(factor, Vec::Load(columns[c] + r), offset).Store(columns[c] + r);
    }
  }
  if (problem.margin == nullptr) return;
  for (int r = 0; r < n; ++r) {
    const int id = static_cast<int>(ids[r]);
    columns[id][r] -= problem.margin[id];
  }
}

template <int kRows>
void TimesFactorsOfColumns(const CbkProblem& problem, int n, float (*columns)[kRows]) {
  if (problem.factor == nullptr) return;
  for (int c = 0; c < static_cast<int>(problem.classes); ++c) {
    const Vec factor = Vec::Set(problem.factor[c]);
    for (int r = 0; r < n; r += Vec::kLanes) {
      (factor * Vec::Load(columns[c] + r)).Store(columns[c] + r);
    }
  }
}

// AdjustTile of one class, and with the margin where it is the label's.
inline float AdjustedLogit(const CbkProblem& problem, int64_t c, float z, bool is_label) {
  if (problem.factor != nullptr) z *= problem.factor[c];
  if (problem.offset != nullptr) z += problem.offset[c];
  return is_label && problem.margin != nullptr ? z - problem.margin[c] : z;
}

}  // namespace CBK_ISA
}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CPU_ADJUSTMENT_H_
