// Softmax losses of many classes: what a block does for one row.

#ifndef CB_KERAS_OPS_CUDA_SOFTMAX_ROW_CUH_
#define CB_KERAS_OPS_CUDA_SOFTMAX_ROW_CUH_

#include <float.h>
#include <math.h>

#include "block_row.cuh"
#include "terms.cuh"

namespace cb_keras {

// A thread's sum of 2^(z log2(e) - shift) with a shift that follows the largest z. Following only
// when that pays 2^8 makes it a rare branch, and keeps rounding errors of the rescaling from adding
// up: each is worth 2^-8 of the one before. In double: a thread may meet thousands of vectors.
struct ExponentialSum {
  float shift = -FLT_MAX;
  double sum = 0.0;

  template <int n>
  __device__ __forceinline__ void Add(const float (&z)[n]) {
    float max = z[0];
#pragma unroll
    for (int i = 1; i < n; ++i) max = fmaxf(max, z[i]);
    const float wanted = max * kLog2E;
    if (wanted > shift + 8.0f) {
      sum *= Exp2Approx(shift - wanted);
      shift = wanted;
    }
    float exponentials[n];
#pragma unroll
    for (int i = 0; i < n; ++i) exponentials[i] = Exp2Approx(fmaf(z[i], kLog2E, -shift));
    sum += SumOf(exponentials);
  }
};

// The exponentials of all classes but the label's, summed over the row.
template <typename T, int kWidth, bool kAdjusted>
__device__ __forceinline__ ExponentialSum SumOthers(const BlockRow<T, kWidth, kAdjusted>& row,
                                                    int label) {
  auto* const stage = reinterpret_cast<Bits<T, kWidth>*>(row.stage);
  ExponentialSum sum;
  ForBlockShare<4>(
      row.span.vectors, [&](int i) { return row.Load(i); },
      [&](int i, const Bits<T, kWidth>& bits) {
        if (i < row.args.staged_vectors) StoreShared(&stage[i], bits);
        float z[kWidth];
        row.Logits(i, bits, z);
        Replace(z, label - row.span.VectorStart(i), -INFINITY);
        sum.Add(z);
      });
#pragma unroll 1
  for (int i = threadIdx.x; i < row.span.LooseCount(); i += blockDim.x) {
    const int c = row.span.Loose(i);
    const float z[1] = {c == label ? -INFINITY : row.Logit(c)};
    sum.Add(z);
  }
  return sum;
}

// The sum of z log2(e) - shift over the row, to all threads.
template <typename T, int kWidth, bool kAdjusted>
__device__ __forceinline__ float SumExponents(const BlockRow<T, kWidth, kAdjusted>& row,
                                              float shift) {
  double sum = 0.0;
#pragma unroll 1
  for (int c = threadIdx.x; c < row.args.classes; c += blockDim.x) {
    sum += fmaf(row.Logit(c), kLog2E, -shift);
  }
  float total[1] = {static_cast<float>(sum)};
  __syncthreads();  // Another sum has just been read.
  BlockSum(total, row.scratch);
  return total[0];
}

// gradient = scale * 2^(z log2(e) - shift) - offset; own_gradient for the label's class.
template <typename T, int kWidth, bool kAdjusted>
__device__ __forceinline__ void StoreSoftmaxGradient(const BlockRow<T, kWidth, kAdjusted>& row,
                                                     int label, float shift,
                                                     const SoftmaxSlopes& slopes) {
  const auto* const stage = reinterpret_cast<const Bits<T, kWidth>*>(row.stage);
  ForBlockShare<2>(
      row.span.vectors, [&](int i) { return i < row.args.staged_vectors ? stage[i] : row.Load(i); },
      [&](int i, const Bits<T, kWidth>& bits) {
        float values[kWidth];
        row.Logits(i, bits, values);
        const int first = row.span.VectorStart(i);
#pragma unroll
        for (int k = 0; k < kWidth; ++k) {
          const float e = Exp2Approx(fmaf(values[k], kLog2E, -shift));
          values[k] = row.Gradient(first + k, TimesFactor(slopes.scale, e) - slopes.offset);
        }
        Replace(values, label - first, slopes.own_gradient);
        row.Store(i, values);
      });
#pragma unroll 1
  for (int i = threadIdx.x; i < row.span.LooseCount(); i += blockDim.x) {
    const int c = row.span.Loose(i);
    const float e = Exp2Approx(fmaf(row.Logit(c), kLog2E, -shift));
    const float value = row.Gradient(c, TimesFactor(slopes.scale, e) - slopes.offset);
    FromFloat(c == label ? slopes.own_gradient : value, &row.gradient[c]);
  }
}

template <bool kGradient, typename T, int kWidth, bool kAdjusted>
__device__ __forceinline__ float SoftmaxRow(const BlockRow<T, kWidth, kAdjusted>& row) {
  const int label = ReadLabel(row.args, row.index);
  const ExponentialSum sum = SumOthers(row, label);
  const float margin = kAdjusted ? MarginOf(row.args.problem, label) : 0.0f;
  float own_z = label >= 0 ? row.Logit(label) : NAN;
  if (kAdjusted) own_z -= margin;
  const float shift = fmaxf(BlockMax(sum.shift, row.scratch), own_z * kLog2E);
  float others[1] = {static_cast<float>(sum.sum * Exp2Approx(sum.shift - shift))};
  BlockSum(others, row.scratch);
  const float own_exponent = fmaf(own_z, kLog2E, -shift);
  const float weight = ReadWeight(row.args, label);
  if (kGradient) {
    const float factor =
        GradientFactor(weight, ReadUpstream(row.args, row.index), label >= 0);
    SoftmaxSlopes slopes = SlopesOfSoftmax(row.args, factor, others[0], own_exponent);
    if (label >= 0) slopes.own_gradient = row.Gradient(label, slopes.own_gradient);
    StoreSoftmaxGradient(row, label, shift, slopes);
  }
  float exponents = row.args.label_smoothing > 0.0f ? SumExponents(row, shift) : 0.0f;
  if (kAdjusted) exponents -= margin * kLog2E;  // The sum is without it.
  return TimesFactor(weight, ClassIdSoftmaxLoss(row.args, others[0], own_exponent, exponents));
}

// Multi-hot labels. Element by element: they are not what the time is spent on.
template <bool kGradient, typename T, int kWidth>
__device__ __forceinline__ float MixedSoftmaxRow(const BlockRow<T, kWidth>& row) {
  const LossArgs& args = row.args;
  const int thread = static_cast<int>(threadIdx.x), stride = static_cast<int>(blockDim.x);
  const float* const labels =
      static_cast<const float*>(args.problem.labels) + row.index * args.classes;
  const auto target_of = [&](int c) { return labels[c] * args.problem.class_weights[c]; };
  const auto logit_of = [&](int c) {
    const float z = ToFloat(row.z[c]);
    return args.adjusts ? AdjustedLogit(args.problem, c, z) : z;
  };

  float max = -FLT_MAX;
  double target_sum = 0.0, target_size = 0.0;
  for (int c = thread; c < args.classes; c += stride) {
    max = fmaxf(max, logit_of(c));
    target_sum += target_of(c);
    target_size += fabsf(target_of(c));
  }
  float targets[2] = {static_cast<float>(target_sum), static_cast<float>(target_size)};
  max = BlockMax(max, row.scratch);
  BlockSum(targets, row.scratch);
  MixedRow mixed(args, max, targets[0]);

  double below = 0.0, count = 0.0;
  for (int c = thread; c < args.classes; c += stride) {
    const float z = logit_of(c);
    if (z == max) {
      count += 1.0;
    } else {
      below += mixed.Exponential(z);
    }
  }
  float totals[2] = {static_cast<float>(below), static_cast<float>(count)};
  __syncthreads();  // The targets' sums have been read.
  BlockSum(totals, row.scratch);
  mixed.SetTotal(totals[0], totals[1]);

  double loss = 0.0, slopes = 0.0, slopes_of_rest = 0.0;
  for (int c = thread; c < args.classes; c += stride) {
    const float z = logit_of(c);
    const FocalTerm term = mixed.TermOf(args, z, target_of(c));
    loss += term.value;
    slopes += term.slope;
    slopes_of_rest += mixed.IsTop(z) ? 0.0f : term.slope;
  }
  float sums[3] = {static_cast<float>(loss), static_cast<float>(slopes),
                   static_cast<float>(slopes_of_rest)};
  __syncthreads();
  BlockSum(sums, row.scratch);
  const float weight = targets[1] == 0.0f ? 0.0f : 1.0f;
  if (kGradient) {
    const float factor = GradientFactor(weight, ReadUpstream(args, row.index), true);
    for (int c = thread; c < args.classes; c += stride) {
      const float z = logit_of(c);
      const float slope = mixed.TermOf(args, z, target_of(c)).slope;
      const float value = TimesFactor(factor, mixed.Gradient(z, slope, sums[1], sums[2]));
      FromFloat(TimesFactorOf(args.problem, c, value), &row.gradient[c]);
    }
  }
  return TimesFactor(weight, sums[0]);
}

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CUDA_SOFTMAX_ROW_CUH_
