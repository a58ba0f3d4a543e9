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

  void Scale(double factor) {
    value *= factor;
    size *= fabs(factor);
    tiny_factor *= fmax(1.0, fabs(factor));
  }
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

// By how much more it grows where the logits are adjusted, of which each sum or product of float32 is
// rounded: an exponential is wrong by twice the largest rounding, and (1 - p)^gamma by gamma times as
// much.
inline double RoundedAdjustment(const HostProblem& problem, int64_t row, double gamma) {
  if (problem.factor.empty() && problem.offset.empty() && problem.margin.empty()) return 0.0;
  double largest = 0.0;
  for (int64_t c = 0; c < problem.what.classes; ++c) {
    const double size = fabs(problem.Factor(c) * static_cast<double>(problem.Logit(row, c))) +
                        fabs(problem.Offset(c)) + fabs(problem.Margin(row, c));
    if (size < static_cast<double>(INFINITY)) largest = fmax(largest, size);
  }
  return 2.0 * largest * static_cast<double>(FLT_EPSILON) * (gamma + 3.0) / kTolerance;
}

// (1 - p)^gamma * ce and its derivative by ce, for p = own / (own + others) and ce = -log p. The
// error of log(1 - p), relative to itself, is multiplied by gamma.
inline ReferenceTerm FocalOf(double own, double others, double ce, double gamma) {
  if (gamma == 0.0) return {ce, 1.0, 0.0};  // 0 times an infinite ce would be NaN
  const double right = own / (own + others), wrong = others / (own + others);
  const double factor = pow(wrong, gamma);
  const double ratio = wrong > 0.0 ? ce / wrong : 1.0;
  const double spread = factor > 0.0 ? -gamma * log(wrong) : 0.0;
  return {factor * ce, factor * (1.0 + gamma * right * ratio), spread};
}

// Multi-hot labels: a mix of the classes' losses.
inline void MixedSoftmaxReference(const HostProblem& problem, int64_t row, double upstream,
                                  ExpectedRow* expected) {
  const Case& what = problem.what;
  const int64_t classes = what.classes;
  const size_t n = static_cast<size_t>(classes);
  const double gamma = what.loss == kCbkSoftmaxFocal ? static_cast<double>(what.gamma) : 0.0;
  const double smoothing = static_cast<double>(what.LabelSmoothing());
  std::vector<double> e(n), targets(n), slopes(n), sizes(n);
  double max = -DBL_MAX, total_target = 0.0, target_size = 0.0;
  int64_t top = 0;
  bool any_nan = false;
  for (int64_t c = 0; c < classes; ++c) {
    const double z = problem.Adjusted(row, c);
    any_nan = any_nan || isnan(z);
    if (z > max) {
      max = z;
      top = c;
    }
    targets[static_cast<size_t>(c)] = problem.Target(row, c);
    total_target += targets[static_cast<size_t>(c)];
    target_size += fabs(targets[static_cast<size_t>(c)]);
  }
  const double rounded = RoundedAdjustment(problem, row, gamma);
  double rest = 0.0;  // of all but the largest
  for (int64_t c = 0; c < classes; ++c) {
    e[static_cast<size_t>(c)] = exp(problem.Adjusted(row, c) - max);
    if (c != top) rest += e[static_cast<size_t>(c)];
  }
  const double spread_size = smoothing / static_cast<double>(classes) * target_size;
  double slope_total = 0.0, slope_size = 0.0, slope_rest = 0.0, rest_size = 0.0;
  for (int64_t c = 0; c < classes; ++c) {
    const size_t i = static_cast<size_t>(c);
    double target = targets[i], target_abs = fabs(target);
    if (smoothing > 0.0) {
      target = (1.0 - smoothing) * target + smoothing / static_cast<double>(classes) * total_target;
      target_abs = (1.0 - smoothing) * target_abs + spread_size;
    }
    if (target == 0.0 && target_abs == 0.0) continue;
    const double others = c == top ? rest : 1.0 + rest - e[i];
    const double ce = c == top ? log1p(rest)
                               : max - problem.Adjusted(row, c) + log1p(rest);
    const ReferenceTerm term = FocalOf(e[i], others, ce, gamma);
    expected->loss.value += target * term.value;
    expected->loss.size += target_abs * term.value * (Widened(term) + rounded);
    slopes[i] = target * term.slope;
    sizes[i] = target_abs * term.slope * (Widened(term) + rounded);
    slope_total += slopes[i];
    slope_size += sizes[i];
    if (c != top) slope_rest += slopes[i];
    if (c != top) rest_size += sizes[i];
  }
  if (any_nan) expected->loss.value = slope_total = slope_rest = static_cast<double>(NAN);
  for (int64_t c = 0; c < static_cast<int64_t>(expected->gradient.size()); ++c) {
    const size_t i = static_cast<size_t>(c);
    const double p = e[i] / (1.0 + rest);
    Expected* const result = &expected->gradient[i];
    result->value = upstream * (c == top ? slope_rest - slope_total * rest / (1.0 + rest)
                                         : slope_total * p - slopes[i]);
    if (any_nan) result->value = static_cast<double>(NAN);
    result->size = fabs(upstream) * (c == top ? rest_size + slope_size * rest / (1.0 + rest)
                                              : slope_size * p + sizes[i]);
    result->tiny_factor =
        static_cast<double>(classes) * fabs(upstream) * (1.0 + gamma) * (1.0 + target_size);
    result->Scale(problem.Factor(c));
  }
}

// Class ids.
inline void SoftmaxReference(const HostProblem& problem, int64_t row, double factor,
                             ExpectedRow* expected) {
  const int64_t classes = problem.what.classes, id = problem.ClassId(row);
  const double gamma =
      problem.what.loss == kCbkSoftmaxFocal ? static_cast<double>(problem.what.gamma) : 0.0;
  const double smoothing = static_cast<double>(problem.what.LabelSmoothing());
  const double share = smoothing / static_cast<double>(classes);
  double max = -DBL_MAX;
  for (int64_t c = 0; c < classes; ++c) max = fmax(max, problem.Adjusted(row, c));
  double others = 0.0, own_z = static_cast<double>(NAN);
  for (int64_t c = 0; c < classes; ++c) {
    const double z = problem.Adjusted(row, c);
    if (c == id) own_z = z;
    if (c != id) others += exp(z - max);
  }
  const double own = exp(own_z - max);
  const double ce = own > 1e-9 ? log1p(others / own) : log(others + own) + max - own_z;
  const ReferenceTerm focal = FocalOf(own, others, ce, gamma);
  expected->loss.value = gamma == 0.0 ? ce : focal.value;
  const double unfocused = fabs(factor);
  if (gamma != 0.0) factor *= focal.slope;
  const double rounded = RoundedAdjustment(problem, row, gamma);
  const double widened = (gamma == 0.0 ? 1.0 : Widened(focal)) + rounded;
  if (smoothing > 0.0) {
    double sum = 0.0;
    for (int64_t c = 0; c < classes; ++c) {
      sum += max - problem.Adjusted(row, c) + log(others + own);
    }
    expected->loss.value = (1.0 - smoothing) * ce + share * sum;
  }
  // Smoothing subtracts the mean exponent from the logarithm of the sum.
  expected->loss.size = widened * expected->loss.value + smoothing * (1.0 + rounded);
  for (int64_t c = 0; c < static_cast<int64_t>(expected->gradient.size()); ++c) {
    const double e = c == id ? -others : exp(problem.Adjusted(row, c) - max);
    Expected* const result = &expected->gradient[static_cast<size_t>(c)];
    result->value = factor * e / (others + own);
    result->size = fabs(result->value) * widened;
    if (smoothing > 0.0) {
      result->value += factor * (c == id ? smoothing - share : -share);
      result->size += fabs(factor) * (c == id ? smoothing : share);
    }
    result->tiny_factor =
        (c == id ? static_cast<double>(classes) : 1.0) * unfocused * (1.0 + gamma);
    result->Scale(problem.Factor(c));
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
  if (CbkOfSoftmax(problem.what.loss) && problem.what.labels_type == kCbkMultiHot) {
    MixedSoftmaxReference(problem, row, factor, &expected);  // its weight is 1
  } else if (CbkOfSoftmax(problem.what.loss)) {
    SoftmaxReference(problem, row, factor, &expected);
  } else {
    TermsReference(problem, row, factor, &expected);
  }
  expected.loss.value *= weight;
  expected.loss.size = fabs(weight * expected.loss.size);
  // A power of gamma that is subnormal leaves out up to it times the cross-entropy, which is below
  // 1 + log(1 + gamma) there.
  const bool focal = problem.what.loss == kCbkFocal || problem.what.loss == kCbkSoftmaxFocal;
  const double gamma = focal ? double{problem.what.gamma} : 0.0;
  const bool multi_hot = problem.what.labels_type == kCbkMultiHot;
  double of_terms = weight;
  if (multi_hot && CbkOfSoftmax(problem.what.loss)) {
    for (int64_t c = 0; c < problem.what.classes; ++c) of_terms += fabs(problem.Target(row, c));
  }
  expected.loss.tiny_factor =
      static_cast<double>(problem.what.classes) * of_terms * (1.0 + log1p(gamma));
  const bool nothing_arrives = problem.UpstreamOf(row) == 0.0;
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
