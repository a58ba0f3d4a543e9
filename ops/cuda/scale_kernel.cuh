// Multiplies the rows of a gradient that was made with other upstream factors.

#ifndef CB_KERAS_OPS_CUDA_SCALE_KERNEL_CUH_
#define CB_KERAS_OPS_CUDA_SCALE_KERNEL_CUH_

#include <math.h>

#include "../class_balanced_loss.h"
#include "loss_rows.cuh"
#include "memory.cuh"

namespace cb_keras {

constexpr int kScaleThreads = 256;

struct ScaleArgs {
  CbkScaling scaling;
  int classes;
  int lanes_log2;  // Threads per row: a power of two.
};

__device__ __forceinline__ float ScaleFactor(const CbkScaling& scaling, int64_t row) {
  const float upstream = scaling.upstream[row];
  const float applied = scaling.applied[scaling.applied_is_scalar ? 0 : row];
  if (upstream == 0.0f) return 0.0f;
  return applied == 0.0f ? NAN : upstream / applied;
}

template <typename T>
__global__ void __launch_bounds__(kScaleThreads) ScaleKernel(const ScaleArgs args) {
  constexpr int kWidth = kWidest<T>;
  const int lanes = 1 << args.lanes_log2;
  const int thread = static_cast<int>(threadIdx.x), lane = thread & (lanes - 1);
  const int64_t rows_per_block = kScaleThreads >> args.lanes_log2;
  const int64_t first = blockIdx.x * rows_per_block + (thread >> args.lanes_log2);
  for (int64_t r = first; r < args.scaling.rows; r += gridDim.x * rows_per_block) {
    const float factor = ScaleFactor(args.scaling, r);
    if (factor == 1.0f) continue;
    T* const row = static_cast<T*>(args.scaling.values) + r * args.classes;
    const Span<kWidth> span = MakeSpan<kWidth>(row, args.classes, true);
#pragma unroll 2
    for (int i = lane; i < span.vectors; i += lanes) {
      auto* const target = reinterpret_cast<Bits<T, kWidth>*>(row + span.VectorStart(i));
      const Bits<T, kWidth> bits = *target;
      float values[kWidth];
      Unpack<T>(bits, values);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) values[k] = TimesFactor(factor, values[k]);
      StoreGlobal(target, Pack<T>(values));
    }
#pragma unroll 1
    for (int i = lane; i < span.LooseCount(); i += lanes) {
      T* const target = row + span.Loose(i);
      FromFloat(TimesFactor(factor, ToFloat(*target)), target);
    }
  }
}

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CUDA_SCALE_KERNEL_CUH_
