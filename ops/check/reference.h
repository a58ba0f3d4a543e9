// The losses and gradients again, row by row, in float64 and by the plainest formulas that float64
// allows: what the kernels are compared with. And how close they have to be.

#ifndef CB_KERAS_OPS_CHECK_REFERENCE_H_
#define CB_KERAS_OPS_CHECK_REFERENCE_H_

#include <float.h>
#include <math.h>

#include <vector>

#include "problem.h"

namespace cb_keras {
namespace check {

// Relative error allowed in float32.
constexpr double kTolerance = 1e-5;

// A number; the size of the summands it comes from, to which its error is relative; and the factor
// of those intermediate results that count as 0 when they are subnormal. Or a number that has to be
// met exactly.
struct Expected {
  double value = 0.0;
  double size = 0.0;
  double tiny_factor = 1.0;
  bool exact = false;
};

constexpr Expected kExactlyZero = {0.0, 0.0, 1.0, true};

struct ExpectedRow {
  Expected loss;
  std::vector<Expected> gradient;
};

// `spread`: how far an error of log(1 + exp(-|x|)), relative to itself, spreads in the result.
struct ReferenceTerm {
  double value, slope, spread;
};

// One class' value and derivative by z; x = z if the class is absent, -z if it is present.
inline ReferenceTerm TermOf(double x, double gamma) {
  const double wrong = 1.0 / (1.0 + exp(-x));
  const double right = 1.0 / (1.0 + exp(x));
  const double ce = x > 30.0 ? x + log1p(exp(-x)) : log1p(exp(x));
  const double factor = gamma == 0.0 ? 1.0 : pow(wrong, gamma);
  return {factor * ce, factor * (gamma * right * ce + wrong), gamma * log1p(exp(-fabs(x)))};
}

// By how much kTolerance grows with gamma: the power is exp(-gamma * softplus(-x)), in which the
// logarithm's error of up to 1e-6 (on a GPU; on a CPU 4e-7) is multiplied by gamma.
inline double Widened(const ReferenceTerm& term) { return 1.0 + 0.1 * term.spread; }

inline void SoftmaxReference(const HostProblem& problem, int64_t row, double factor,
                             ExpectedRow* expected) {
  const int64_t classes = problem.what.classes, id = problem.ClassId(row);
  double max = -DBL_MAX;
  for (int64_t c = 0; c < classes; ++c) max = fmax(max, static_cast<double>(problem.Logit(row, c)));
  double others = 0.0, own_z = static_cast<double>(NAN);
  for (int64_t c = 0; c < classes; ++c) {
    const double z = static_cast<double>(problem.Logit(row, c));
    if (c == id) own_z = z;
    if (c != id) others += exp(z - max);
  }
  const double own = exp(own_z - max);
  expected->loss.value = own > 1e-9 ? log1p(others / own) : log(others + own) + max - own_z;
  for (int64_t c = 0; c < static_cast<int64_t>(expected->gradient.size()); ++c) {
    const double e = c == id ? -others : exp(static_cast<double>(problem.Logit(row, c)) - max);
    Expected* const result = &expected->gradient[static_cast<size_t>(c)];
    result->value = factor * e / (others + own);
    result->size = fabs(result->value);
    result->tiny_factor = (c == id ? static_cast<double>(classes) : 1.0) * fabs(factor);
  }
}

inline void TermsReference(const HostProblem& problem, int64_t row, double factor,
                           ExpectedRow* expected) {
  const Case& what = problem.what;
  const double gamma = what.loss == kCbkFocal ? static_cast<double>(what.gamma) : 0.0;
  const int64_t id = what.labels_type == kCbkMultiHot ? -1 : problem.ClassId(row);
  for (int64_t c = 0; c < what.classes; ++c) {
    const double z = static_cast<double>(problem.Logit(row, c));
    const double y = what.labels_type == kCbkMultiHot
                         ? static_cast<double>(problem.MultiHot(row, c))
                         : static_cast<double>(c == id);
    const ReferenceTerm zero = {0.0, 0.0, 0.0};
    const ReferenceTerm present = y == 0.0 ? zero : TermOf(-z, gamma);
    const ReferenceTerm absent = y == 1.0 ? zero : TermOf(z, gamma);
    expected->loss.value += y * present.value + (1.0 - y) * absent.value;
    expected->loss.size += fabs(y) * present.value * Widened(present) +
                           fabs(1.0 - y) * absent.value * Widened(absent);
    if (expected->gradient.empty()) continue;
    Expected* const result = &expected->gradient[static_cast<size_t>(c)];
    result->value = factor * ((1.0 - y) * absent.slope - y * present.slope);
    result->size = fabs(factor) * (fabs(1.0 - y) * absent.slope * Widened(absent) +
                                   fabs(y) * present.slope * Widened(present));
    result->tiny_factor = fabs(factor) * (1.0 + gamma);
  }
}

// Where the weight is 0 loss and gradient are, and where the upstream factor of a valid row is 0
// the gradient is: whatever the logits are.
inline ExpectedRow ReferenceRow(const HostProblem& problem, int64_t row, bool with_gradient) {
  const double weight = WeightOf(problem, row);
  const double factor = weight * problem.UpstreamOf(row);
  ExpectedRow expected;
  const size_t classes = with_gradient ? static_cast<size_t>(problem.what.classes) : 0;
  if (weight == 0.0) return {kExactlyZero, std::vector<Expected>(classes, kExactlyZero)};
  expected.gradient.resize(classes);
  if (problem.what.loss == kCbkSoftmax) {
    SoftmaxReference(problem, row, factor, &expected);
  } else {
    TermsReference(problem, row, factor, &expected);
  }
  expected.loss.value *= weight;
  expected.loss.size =
      fabs(problem.what.loss == kCbkSoftmax ? expected.loss.value : weight * expected.loss.size);
  // A power of gamma that is subnormal leaves out up to it times the cross-entropy, which is below
  // 1 + log(1 + gamma) there.
  const double gamma = problem.what.loss == kCbkFocal ? double{problem.what.gamma} : 0.0;
  expected.loss.tiny_factor =
      static_cast<double>(problem.what.classes) * weight * (1.0 + log1p(gamma));
  const bool nothing_arrives = problem.UpstreamOf(row) == 0.0;
  const bool multi_hot = problem.what.labels_type == kCbkMultiHot;
  // A row without a class has NaN there, too.
  if (nothing_arrives && (multi_hot || factor == 0.0)) {
    expected.gradient.assign(classes, kExactlyZero);
  }
  return expected;
}

// Half the distance of the numbers of a 16-bit type around `value`.
inline double HalfSpacing(int float_type, double value) {
  if (float_type == kCbkFloat32) return 0.0;
  const int digits = float_type == kCbkBfloat16 ? 8 : 11;
  const int smallest = float_type == kCbkBfloat16 ? -126 : -14;
  int exponent = smallest;
  if (value != 0.0) exponent = std::max(smallest, ilogb(value));
  return ldexp(0.5, exponent - digits + 1);
}

inline bool Close(float got, const Expected& expected, int float_type) {
  const double value = static_cast<double>(got);
  if (expected.exact) return value == expected.value;
  if (isnan(expected.value) || isnan(value)) return isnan(expected.value) && isnan(value);
  const double allowed = kTolerance * expected.size + HalfSpacing(float_type, expected.value) +
                         static_cast<double>(FLT_MIN) * fmax(1.0, expected.tiny_factor);
  // Where float16 ends and infinity begins.
  if (float_type == kCbkFloat16 && isinf(value) && value * expected.value > 0.0) {
    return fabs(expected.value) + allowed >= 65520.0;
  }
  return value == expected.value || fabs(value - expected.value) <= allowed;
}

}  // namespace check
}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CHECK_REFERENCE_H_
