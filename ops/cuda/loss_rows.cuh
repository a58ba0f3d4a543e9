// What the kernels are told about a launch and about each of its rows.

#ifndef CB_KERAS_OPS_CUDA_LOSS_ROWS_CUH_
#define CB_KERAS_OPS_CUDA_LOSS_ROWS_CUH_

#include <float.h>
#include <math.h>

#include "../class_balanced_loss.h"
#include "platform.cuh"
#include "terms.cuh"

namespace cb_keras {

// The four ways a row is worked out.
enum class Form {
  kSoftmax,   // One pass for the sum of exponentials, one for the gradient.
  kClassIds,  // Sigmoid and focal, one class present: the row's weight is known, one pass.
  kMultiHot,  // Sigmoid and focal: the weight is a mean over the row, known after the first pass.
  kMixed,     // Softmax with multi-hot labels, a mix of the classes' losses: several passes.
};

struct LossArgs {
  CbkProblem problem;
  int classes;
  Modulation modulation;
  float label_smoothing;  // Of the softmax loss, else 0.
  // Whether the loss takes other logits than these. With class ids that has kernels of its own, for
  // which the others would have no registers.
  bool adjusts;
  bool stream_gradient;  // The gradient is too large to be found in the cache afterwards.
  // For kernels that give each row a group of 2^lanes_log2 lanes:
  int lanes_log2;
  int tile_rows;
  int tile_floats;
  int row_padding;          // Floats between a row's end in shared memory and the next row.
  unsigned row_reciprocal;  // ceil(2^32 / classes) where there is padding, else 0.
  // For kernels that give each row a block: how many of its vectors, the first ones, stay in shared
  // memory between the passes. The others are read again.
  int staged_vectors;
};

constexpr int kNoClass = -1, kIgnoredClass = -2;

// The class of a row; kNoClass where its label is out of range or not a whole number.
__device__ __forceinline__ int ReadLabel(const LossArgs& args, int64_t row) {
  const void* const labels = args.problem.labels;
  const int type = args.problem.labels_type;
  if (type == kCbkFloatIds || type == kCbkDoubleIds) {
    const double label = type == kCbkFloatIds
                             ? static_cast<double>(static_cast<const float*>(labels)[row])
                             : static_cast<const double*>(labels)[row];
    if (args.problem.ignores && label == static_cast<double>(args.problem.ignore_class)) {
      return kIgnoredClass;
    }
    if (!(label >= 0.0 && label < static_cast<double>(args.classes))) return kNoClass;  // NaN too
    const int id = static_cast<int>(label);
    return static_cast<double>(id) == label ? id : kNoClass;
  }
  // 2^63 and more of uint64 are negative as int64.
  const int64_t label = type == kCbkInt32 ? static_cast<const int32_t*>(labels)[row]
                                          : static_cast<const int64_t*>(labels)[row];
  const bool negative_is_large = type == kCbkUint64 && label < 0;
  if (args.problem.ignores && label == args.problem.ignore_class && !negative_is_large) {
    return kIgnoredClass;
  }
  return label >= 0 && label < args.classes ? static_cast<int>(label) : kNoClass;
}

// NaN for kNoClass: it makes the loss and the gradient NaN. 0 for kIgnoredClass.
__device__ __forceinline__ float ReadWeight(const LossArgs& args, int label) {
  if (label == kIgnoredClass) return 0.0f;
  return label >= 0 ? args.problem.class_weights[label] : NAN;
}

__device__ __forceinline__ float ReadUpstream(const LossArgs& args, int64_t row) {
  if (args.problem.upstream == nullptr) return 1.0f;
  return args.problem.upstream[args.problem.upstream_is_scalar ? 0 : row];
}

// What the softmax losses take in place of the logit z of class c; without the label's margin.
__device__ __forceinline__ float AdjustedLogit(const CbkProblem& problem, int c, float z) {
  const float factor = problem.factor == nullptr ? 1.0f : problem.factor[c];
  return fmaf(factor, z, problem.offset == nullptr ? 0.0f : problem.offset[c]);
}

__device__ __forceinline__ float MarginOf(const CbkProblem& problem, int label) {
  return problem.margin == nullptr || label < 0 ? 0.0f : problem.margin[label];
}

// From the gradient by what AdjustedLogit made to that by the logit.
__device__ __forceinline__ float TimesFactorOf(const CbkProblem& problem, int c, float gradient) {
  return problem.factor == nullptr ? gradient : problem.factor[c] * gradient;
}

// Factor of a row's gradient. Where it is 0 the gradient is 0, whatever it would be multiplied
// with: a weight of 0 beats an infinite or NaN upstream, and the other way round. A row without a
// class has the weight NaN, which an upstream of 0 does not hide.
__device__ __forceinline__ float GradientFactor(float weight, float upstream, bool has_class) {
  if (weight == 0.0f || (upstream == 0.0f && has_class)) return 0.0f;
  return weight * upstream;
}

// A product in which a factor of 0 wins over infinity and NaN.
__device__ __forceinline__ float TimesFactor(float factor, float value) {
  return factor == 0.0f ? 0.0f : factor * value;
}

// From exponentials 2^(z log2(e) - shift): their sum over all `others` than the label's class, and
// the exponent of that. Only the others' sum is accurate where the label's class has almost all the
// probability, so both the loss and the label's gradient are made of it. The exponentials are as
// accurate as those of terms.cuh: z log2(e) - shift is rounded once, and the rounding of `shift`
// itself, the same for all, cancels.
__device__ __forceinline__ float SoftmaxLoss(float others, float own_exponent) {
  const float own = Exp2Approx(own_exponent);
  return own_exponent > -20.0f ? log1pf(others / own)
                               : logf(others + own) - own_exponent * kLn2;
}

// A value and its derivative by the cross-entropy that it is made of.
struct FocalTerm {
  float value, slope;
};

// (1 - p)^gamma * crossentropy, p = own / (own + others).
__device__ __forceinline__ FocalTerm FocalOfSoftmax(const Modulation& modulation, float own,
                                                    float others, float crossentropy) {
  if (modulation.kind == Modulation::kNone) return {crossentropy, 1.0f};
  const float q = others / (own + others), p = own / (own + others);
  float power = q;
  if (modulation.kind == Modulation::kSquare) {
    power = q * q;
  } else if (modulation.kind == Modulation::kSquareRoot) {
    power = sqrtf(q);
  } else if (modulation.kind == Modulation::kPower) {
    const float log = others > own ? log1pf(own / others) : -logf(q);
    power = q == 0.0f ? 0.0f : expf(-modulation.gamma * log);
  }
  const float ratio = q >= FLT_MIN ? crossentropy / q : 1.0f;  // Both vanish together.
  return {power * crossentropy, power * fmaf(modulation.gamma * p, ratio, 1.0f)};
}

// The unweighted loss of a row with a class id. `exponents` is the sum of the exponents of all
// classes, for label smoothing.
__device__ __forceinline__ float ClassIdSoftmaxLoss(const LossArgs& args, float others,
                                                    float own_exponent, float exponents) {
  const float crossentropy = SoftmaxLoss(others, own_exponent);
  const float own = Exp2Approx(own_exponent);
  if (args.label_smoothing > 0.0f) {
    const float share = args.label_smoothing / static_cast<float>(args.classes);
    return (1.0f - args.label_smoothing) * crossentropy +
           (args.label_smoothing * logf(others + own) - share * kLn2 * exponents);
  }
  return FocalOfSoftmax(args.modulation, own, others, crossentropy).value;
}

// What the gradient of such a row is made of: scale * 2^exponent - offset, for the label's class
// own_gradient. All are 0 where `factor` is.
struct SoftmaxSlopes {
  float scale, offset, own_gradient;
};

__device__ __forceinline__ SoftmaxSlopes SlopesOfSoftmax(const LossArgs& args, float factor,
                                                         float others, float own_exponent) {
  const float own = Exp2Approx(own_exponent);
  if (args.modulation.kind != Modulation::kNone) {
    const float crossentropy = SoftmaxLoss(others, own_exponent);
    const FocalTerm focal = FocalOfSoftmax(args.modulation, own, others, crossentropy);
    factor = TimesFactor(factor, focal.slope);
  }
  const float scale = TimesFactor(factor, ReciprocalApprox(others + own));
  SoftmaxSlopes slopes = {scale, 0.0f, TimesFactor(scale, -others)};
  if (args.label_smoothing > 0.0f) {
    const float share = args.label_smoothing / static_cast<float>(args.classes);
    slopes.offset = TimesFactor(factor, share);
    slopes.own_gradient += TimesFactor(factor, args.label_smoothing - share);
  }
  return slopes;
}

// A row with multi-hot labels: sums of exponentials 2^(z log2(e) - shift).
struct MixedRow {
  float max, shift;
  float unit;       // The exponential of the largest logit.
  float rest;       // All exponentials but one of the largest.
  float log_total;  // Of all of them, over `unit`.
  bool one_largest;
  float kept, spread;  // Of label smoothing.

  __device__ __forceinline__ MixedRow(const LossArgs& args, float largest, float targets)
      : max(largest), shift(largest * kLog2E), unit(Exp2Approx(fmaf(largest, kLog2E, -shift))) {
    kept = 1.0f - args.label_smoothing;
    spread = args.label_smoothing / static_cast<float>(args.classes) * targets;
  }
  __device__ __forceinline__ float Exponential(float z) const {
    return Exp2Approx(fmaf(z, kLog2E, -shift));
  }
  // `below`: the sum of the exponentials of logits below the largest; `count` of them is not.
  __device__ __forceinline__ void SetTotal(float below, float count) {
    rest = below + (count - 1.0f) * unit;
    log_total = log1pf(rest / unit);
    one_largest = count == 1.0f;
  }
  // The one that may have p near 1.
  __device__ __forceinline__ bool IsTop(float z) const { return one_largest && z == max; }

  // target * loss of a class, and target * d loss / d cross-entropy.
  __device__ __forceinline__ FocalTerm TermOf(const LossArgs& args, float z, float target) const {
    if (args.label_smoothing > 0.0f) target = fmaf(kept, target, spread);
    if (target == 0.0f) return {0.0f, 0.0f};
    const float own = z == max ? unit : Exponential(z);
    const float others = IsTop(z) ? rest : (unit + rest) - own;
    const FocalTerm term = FocalOfSoftmax(args.modulation, own, others, (max - z) + log_total);
    return {target * term.value, target * term.slope};
  }
  // The gradient of a class by its slope, the sum of all slopes, and that of all but the top's.
  __device__ __forceinline__ float Gradient(float z, float slope, float slopes,
                                            float slopes_of_rest) const {
    const float total = unit + rest;
    if (IsTop(z)) return slopes_of_rest - slopes * (rest / total);
    return slopes / total * (z == max ? unit : Exponential(z)) - slope;
  }
};

// The mean of the present classes' weights; of all where none is present.
__device__ __forceinline__ float MultiHotWeight(float label_sum, float weighted_label_sum,
                                                float weight_sum, int classes) {
  return label_sum <= 0.0f ? weight_sum / static_cast<float>(classes)
                           : weighted_label_sum / label_sum;
}

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CUDA_LOSS_ROWS_CUH_
