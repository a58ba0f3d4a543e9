// What the kernels are told about a launch and about each of its rows.

#ifndef CB_KERAS_OPS_CUDA_LOSS_ROWS_CUH_
#define CB_KERAS_OPS_CUDA_LOSS_ROWS_CUH_

#include <math.h>

#include "../class_balanced_loss.h"
#include "platform.cuh"
#include "terms.cuh"

namespace cb_keras {

// The three ways a row is worked out.
enum class Form {
  kSoftmax,   // One pass for the sum of exponentials, one for the gradient.
  kClassIds,  // Sigmoid and focal, one class present: the row's weight is known, one pass.
  kMultiHot,  // Sigmoid and focal: the weight is a mean over the row, known after the first pass.
};

struct LossArgs {
  CbkProblem problem;
  int classes;
  Modulation modulation;
  bool stream_gradient;  // The gradient is too large to be found in the cache afterwards.
  // For kernels that give each row a group of 2^lanes_log2 lanes:
  int lanes_log2;
  int tile_rows;
  int tile_floats;
  // For kernels that give each row a block: keep the row in shared memory between the passes.
  bool staged;
};

// The class of a row; -1 where its label is out of range or not a whole number.
__device__ __forceinline__ int ReadLabel(const LossArgs& args, int64_t row) {
  const void* const labels = args.problem.labels;
  const int type = args.problem.labels_type;
  if (type == kCbkFloatIds || type == kCbkDoubleIds) {
    const double label = type == kCbkFloatIds
                             ? static_cast<double>(static_cast<const float*>(labels)[row])
                             : static_cast<const double*>(labels)[row];
    if (!(label >= 0.0 && label < static_cast<double>(args.classes))) return -1;  // NaN too
    const int id = static_cast<int>(label);
    return static_cast<double>(id) == label ? id : -1;
  }
  // 2^63 and more of uint64 are negative as int64.
  const int64_t label = type == kCbkInt32 ? static_cast<const int32_t*>(labels)[row]
                                          : static_cast<const int64_t*>(labels)[row];
  return label >= 0 && label < args.classes ? static_cast<int>(label) : -1;
}

// NaN for label -1: it makes the loss and the gradient NaN.
__device__ __forceinline__ float ReadWeight(const LossArgs& args, int label) {
  return label >= 0 ? args.problem.class_weights[label] : NAN;
}

__device__ __forceinline__ float ReadUpstream(const LossArgs& args, int64_t row) {
  if (args.problem.upstream == nullptr) return 1.0f;
  return args.problem.upstream[args.problem.upstream_is_scalar ? 0 : row];
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

// The mean of the present classes' weights; of all where none is present.
__device__ __forceinline__ float MultiHotWeight(float label_sum, float weighted_label_sum,
                                                float weight_sum, int classes) {
  return label_sum <= 0.0f ? weight_sum / static_cast<float>(classes)
                           : weighted_label_sum / label_sum;
}

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CUDA_LOSS_ROWS_CUH_
