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
template <typename T, int kWidth>
__device__ __forceinline__ ExponentialSum SumOthers(const BlockRow<T, kWidth>& row, int label) {
  auto* const stage = reinterpret_cast<Bits<T, kWidth>*>(row.stage);
  ExponentialSum sum;
  ForBlockShare<4>(
      row.span.vectors, [&](int i) { return row.Load(i); },
      [&](int i, const Bits<T, kWidth>& bits) {
        if (row.args.staged) StoreShared(&stage[i], bits);
        float z[kWidth];
        Unpack<T>(bits, z);
        Replace(z, label - row.span.VectorStart(i), -INFINITY);
        sum.Add(z);
      });
#pragma unroll 1
  for (int i = threadIdx.x; i < row.span.LooseCount(); i += blockDim.x) {
    const int c = row.span.Loose(i);
    const float z[1] = {c == label ? -INFINITY : ToFloat(row.z[c])};
    sum.Add(z);
  }
  return sum;
}

// gradient = factor * 2^(z log2(e) - shift), 0 if the factor is; own_gradient for the label's class.
template <typename T, int kWidth>
__device__ __forceinline__ void StoreSoftmaxGradient(const BlockRow<T, kWidth>& row, int label,
                                                     float shift, float factor,
                                                     float own_gradient) {
  const auto* const stage = reinterpret_cast<const Bits<T, kWidth>*>(row.stage);
  ForBlockShare<2>(
      row.span.vectors, [&](int i) { return row.args.staged ? stage[i] : row.Load(i); },
      [&](int i, const Bits<T, kWidth>& bits) {
        float values[kWidth];
        Unpack<T>(bits, values);
#pragma unroll
        for (int k = 0; k < kWidth; ++k) {
          values[k] = TimesFactor(factor, Exp2Approx(fmaf(values[k], kLog2E, -shift)));
        }
        Replace(values, label - row.span.VectorStart(i), own_gradient);
        row.Store(i, values);
      });
#pragma unroll 1
  for (int i = threadIdx.x; i < row.span.LooseCount(); i += blockDim.x) {
    const int c = row.span.Loose(i);
    const float value = TimesFactor(factor, Exp2Approx(fmaf(ToFloat(row.z[c]), kLog2E, -shift)));
    FromFloat(c == label ? own_gradient : value, &row.gradient[c]);
  }
}

template <bool kGradient, typename T, int kWidth>
__device__ __forceinline__ float SoftmaxRow(const BlockRow<T, kWidth>& row) {
  const int label = ReadLabel(row.args, row.index);
  const ExponentialSum sum = SumOthers(row, label);
  const float own_z = label >= 0 ? ToFloat(row.z[label]) : NAN;
  const float shift = fmaxf(BlockMax(sum.shift, row.scratch), own_z * kLog2E);
  float others[1] = {static_cast<float>(sum.sum * Exp2Approx(sum.shift - shift))};
  BlockSum(others, row.scratch);
  const float own_exponent = fmaf(own_z, kLog2E, -shift);
  const float weight = ReadWeight(row.args, label);
  if (kGradient) {
    const float factor =
        GradientFactor(weight, ReadUpstream(row.args, row.index), label >= 0);
    const float scale =
        TimesFactor(factor, ReciprocalApprox(others[0] + Exp2Approx(own_exponent)));
    StoreSoftmaxGradient(row, label, shift, scale, TimesFactor(scale, -others[0]));
  }
  return TimesFactor(weight, SoftmaxLoss(others[0], own_exponent));
}

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CUDA_SOFTMAX_ROW_CUH_
