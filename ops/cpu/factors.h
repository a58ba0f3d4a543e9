// What a problem's rows are multiplied with.

#ifndef CB_KERAS_OPS_CPU_FACTORS_H_
#define CB_KERAS_OPS_CPU_FACTORS_H_

#include <stdint.h>

#include "../class_balanced_loss.h"
#include "terms.h"

namespace cb_keras {
namespace CBK_ISA {

inline Modulator ModulatorOf(const CbkProblem& problem) {
  const bool focal = problem.loss == kCbkFocal || problem.loss == kCbkSoftmaxFocal;
  if (!focal || problem.gamma == 0.0f) return Modulator::kNone;
  if (problem.gamma == 1.0f) return Modulator::kLinear;
  if (problem.gamma == 2.0f) return Modulator::kSquare;
  return Modulator::kPower;
}

inline float LabelSmoothingOf(const CbkProblem& problem) {
  return problem.loss == kCbkSoftmax ? problem.label_smoothing : 0.0f;
}

inline float MeanWeight(const CbkProblem& problem) {
  double sum = 0.0;
  for (int64_t c = 0; c < problem.classes; ++c) sum += problem.class_weights[c];
  return static_cast<float>(sum / static_cast<double>(problem.classes));
}

inline float UpstreamOf(const CbkProblem& problem, int64_t row) {
  if (problem.upstream == nullptr) return 1.0f;
  return problem.upstream[problem.upstream_is_scalar ? 0 : row];
}

// Factor of a row's gradient. Where it is 0 the gradient is 0, whatever it would be multiplied
// with: a weight of 0 beats an infinite or NaN upstream, and the other way round.
inline float FactorOf(float weight, float upstream) {
  return weight == 0.0f || upstream == 0.0f ? 0.0f : weight * upstream;
}

}  // namespace CBK_ISA
}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CPU_FACTORS_H_
