// Sums and maxima over the lanes that share a row, and over a whole block.

#ifndef CB_KERAS_OPS_CUDA_REDUCE_CUH_
#define CB_KERAS_OPS_CUDA_REDUCE_CUH_

#include <float.h>

#include "platform.cuh"

namespace cb_keras {

constexpr unsigned kAllLanes = 0xffffffffu;

// Over groups of `lanes` (a power of two) neighbouring lanes. All lanes of the warp must call it;
// all lanes of a group get the result. NaN counts as no value in a maximum.
__device__ __forceinline__ float GroupMax(float value, int lanes) {
  for (int mask = lanes / 2; mask > 0; mask /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, mask));
  }
  return value;
}

__device__ __forceinline__ float GroupSum(float value, int lanes) {
  for (int mask = lanes / 2; mask > 0; mask /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, mask);
  }
  return value;
}

// Shared memory for the block-wide results of one row. A maximum and a sum may follow each other
// without a barrier of the caller's; two of a kind may not.
struct BlockScratch {
  float maxima[32];
  float sums[4][32];
};

__device__ __forceinline__ float BlockMax(float value, BlockScratch* scratch) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  value = GroupMax(value, 32);
  if (lane == 0) scratch->maxima[threadIdx.x / 32] = value;
  __syncthreads();
  const bool used = lane < static_cast<int>(blockDim.x) / 32;
  return GroupMax(used ? scratch->maxima[lane] : -FLT_MAX, 32);
}

template <int n>
__device__ __forceinline__ void BlockSum(float (&values)[n], BlockScratch* scratch) {
  static_assert(n <= 4, "BlockScratch holds four sums");
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int i = 0; i < n; ++i) {
    values[i] = GroupSum(values[i], 32);
    if (lane == 0) scratch->sums[i][threadIdx.x / 32] = values[i];
  }
  __syncthreads();
  const bool used = lane < static_cast<int>(blockDim.x) / 32;
#pragma unroll
  for (int i = 0; i < n; ++i) values[i] = GroupSum(used ? scratch->sums[i][lane] : 0.0f, 32);
}

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CUDA_REDUCE_CUH_
