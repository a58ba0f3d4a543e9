// Sigmoid and focal losses of many classes: what a block does for one row.

#ifndef CB_KERAS_OPS_CUDA_TERMS_ROW_CUH_
#define CB_KERAS_OPS_CUDA_TERMS_ROW_CUH_

#include "block_row.cuh"
#include "terms.cuh"

namespace cb_keras {

template <bool kFocal, bool kGradient, typename T, int kWidth>
__device__ __forceinline__ float ClassIdsRow(const BlockRow<T, kWidth>& row) {
  const int label = ReadLabel(row.args, row.index);
  const float weight = ReadWeight(row.args, label);
  const float factor = GradientFactor(weight, ReadUpstream(row.args, row.index), label >= 0);
  double sum = 0.0;
  ForBlockShare<2>(
      row.span.vectors, [&](int i) { return row.Load(i); },
      [&](int i, const Bits<T, kWidth>& bits) {
        float x[kWidth], values[kWidth], slopes[kWidth];
        Unpack<T>(bits, x);
        Negate(x, label - row.span.VectorStart(i));
        Evaluate<kFocal>(row.args.modulation, x, values, slopes);
        sum += SumOf(values);
        if (!kGradient) return;
        Negate(slopes, label - row.span.VectorStart(i));
#pragma unroll
        for (int k = 0; k < kWidth; ++k) slopes[k] = TimesFactor(factor, slopes[k]);
        row.Store(i, slopes);
      });
#pragma unroll 1
  for (int i = threadIdx.x; i < row.span.LooseCount(); i += blockDim.x) {
    const int c = row.span.Loose(i);
    const float z = ToFloat(row.z[c]);
    const float x[1] = {c == label ? -z : z};
    float value[1], slope[1];
    Evaluate<kFocal>(row.args.modulation, x, value, slope);
    sum += value[0];
    if (!kGradient) continue;
    FromFloat(TimesFactor(factor, c == label ? -slope[0] : slope[0]), &row.gradient[c]);
  }
  float total[1] = {static_cast<float>(sum)};
  BlockSum(total, row.scratch);
  return TimesFactor(weight, total[0]);
}


// Four floats from anywhere, by one read where their alignment allows.
__device__ __forceinline__ void LoadFloats(const float* address, float (&values)[4]) {
  if (Misalignment<16>(address) == 0) {
    Unpack<float>(LoadBits<float, 4>(address), values);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) values[i] = __ldg(address + i);
  }
}

// A thread's sums over its classes.
struct MultiHotSums {
  double value = 0.0, label = 0.0, weighted_label = 0.0, weight = 0.0;

  template <int n>
  __device__ __forceinline__ void Add(const float (&values)[n], const float (&y)[n],
                                      const float (&weights)[n]) {
    float weighted[n], valid[n];
#pragma unroll
    for (int i = 0; i < n; ++i) {
      weighted[i] = y[i] * weights[i];
      valid[i] = ValidLabel(y[i]);
    }
    value += SumOf(values);
    label += SumOf(valid);
    weighted_label += SumOf(weighted);
    weight += SumOf(weights);
  }
};

// First pass: the sums, and the slopes of the vectors to the stage as far as it goes.
template <bool kFocal, typename T, int kWidth>
__device__ __forceinline__ MultiHotSums SumMultiHot(const BlockRow<T, kWidth>& row,
                                                       const float* labels) {
  const float* const class_weights = row.args.problem.class_weights;
  MultiHotSums sums;
  ForBlockShare<2>(
      row.span.vectors, [&](int i) { return row.Load(i); },
      [&](int i, const Bits<T, kWidth>& bits) {
        float z[kWidth], y[kWidth], weights[kWidth], values[kWidth], slopes[kWidth];
        LoadFloats(labels + row.span.VectorStart(i), y);
        LoadFloats(class_weights + row.span.VectorStart(i), weights);
        Unpack<T>(bits, z);
        EvaluateMixed<kFocal>(row.args.modulation, z, y, values, slopes);
        sums.Add(values, y, weights);
        if (i >= row.args.staged_vectors) return;
        StoreShared(reinterpret_cast<uint4*>(row.stage) + i, Pack<float>(slopes));
      });
#pragma unroll 1
  for (int i = threadIdx.x; i < row.span.LooseCount(); i += blockDim.x) {
    const int c = row.span.Loose(i);
    const float z[1] = {ToFloat(row.z[c])}, y[1] = {labels[c]}, weights[1] = {class_weights[c]};
    float values[1], slopes[1];
    EvaluateMixed<kFocal>(row.args.modulation, z, y, values, slopes);
    sums.Add(values, y, weights);
  }
  return sums;
}

// Second pass: the slopes, from the stage or worked out again, times the row's factor.
template <bool kFocal, typename T, int kWidth>
__device__ __forceinline__ void StoreMultiHotGradient(const BlockRow<T, kWidth>& row,
                                                      const float* labels, float factor) {
  for (int i = threadIdx.x; i < row.span.vectors; i += blockDim.x) {
    float slopes[kWidth];
    if (i < row.args.staged_vectors) {
      Unpack<float>(reinterpret_cast<const uint4*>(row.stage)[i], slopes);
    } else {
      float z[kWidth], y[kWidth], values[kWidth];
      LoadFloats(labels + row.span.VectorStart(i), y);
      Unpack<T>(row.Load(i), z);
      EvaluateMixed<kFocal>(row.args.modulation, z, y, values, slopes);
    }
#pragma unroll
    for (int k = 0; k < kWidth; ++k) slopes[k] = TimesFactor(factor, slopes[k]);
    row.Store(i, slopes);
  }
#pragma unroll 1
  for (int i = threadIdx.x; i < row.span.LooseCount(); i += blockDim.x) {
    const int c = row.span.Loose(i);
    const float z[1] = {ToFloat(row.z[c])}, y[1] = {labels[c]};
    float values[1], slopes[1];
    EvaluateMixed<kFocal>(row.args.modulation, z, y, values, slopes);
    FromFloat(TimesFactor(factor, slopes[0]), &row.gradient[c]);
  }
}

template <bool kFocal, bool kGradient, typename T, int kWidth>
__device__ __forceinline__ float MultiHotRow(const BlockRow<T, kWidth>& row) {
  const float* const labels =
      static_cast<const float*>(row.args.problem.labels) + row.index * row.args.classes;
  const MultiHotSums sums = SumMultiHot<kFocal>(row, labels);
  float totals[4] = {static_cast<float>(sums.value), static_cast<float>(sums.label),
                     static_cast<float>(sums.weighted_label), static_cast<float>(sums.weight)};
  BlockSum(totals, row.scratch);
  const float weight = MultiHotWeight(totals[1], totals[2], totals[3], row.args.classes);
  if (kGradient) {
    const float upstream = ReadUpstream(row.args, row.index);
    StoreMultiHotGradient<kFocal>(row, labels, GradientFactor(weight, upstream, true));
  }
  return TimesFactor(weight, totals[0]);
}

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CUDA_TERMS_ROW_CUH_
