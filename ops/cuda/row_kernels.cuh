// Losses of many classes: a block works on one row at a time.

#ifndef CB_KERAS_OPS_CUDA_ROW_KERNELS_CUH_
#define CB_KERAS_OPS_CUDA_ROW_KERNELS_CUH_

#include "block_row.cuh"
#include "softmax_row.cuh"
#include "terms_row.cuh"

namespace cb_keras {

// Two blocks to a multiprocessor, of usually not more than half as many threads.
constexpr int kMaxRowThreads = 1024;

template <Form kForm, bool kGradient, typename T, int kWidth, bool kAdjusted>
__device__ __forceinline__ float RowLoss(const BlockRow<T, kWidth, kAdjusted>& row) {
  const bool focal = row.args.modulation.kind != Modulation::kNone;
  if constexpr (kForm == Form::kSoftmax) {
    return SoftmaxRow<kGradient>(row);
  } else if constexpr (kForm == Form::kMixed) {
    return MixedSoftmaxRow<kGradient>(row);
  } else if constexpr (kForm == Form::kClassIds) {
    return focal ? ClassIdsRow<true, kGradient>(row) : ClassIdsRow<false, kGradient>(row);
  } else {
    return focal ? MultiHotRow<true, kGradient>(row) : MultiHotRow<false, kGradient>(row);
  }
}

// Shared memory: BlockScratch, then the stage.
template <typename T, Form kForm, bool kGradient, bool kAdjusted = false>
__global__ void __launch_bounds__(kMaxRowThreads) RowKernel(const LossArgs args) {
  CBK_SHARED_MEMORY(shared);
  constexpr int kWidth = kRowWidth<T, kForm, kAdjusted>;
  constexpr int kBytes = kWidth * static_cast<int>(sizeof(T));
  for (int64_t index = blockIdx.x; index < args.problem.rows; index += gridDim.x) {
    const T* const z = static_cast<const T*>(args.problem.logits) + index * args.classes;
    T* const gradient =
        kGradient ? static_cast<T*>(args.problem.gradient) + index * args.classes : nullptr;
    // The gradient's vectors must begin where those of the logits do.
    const bool same_cut = !kGradient || Misalignment<kBytes>(z) == Misalignment<kBytes>(gradient);
    const BlockRow<T, kWidth, kAdjusted> row = {args,
                                                index,
                                                z,
                                                gradient,
                                                MakeSpan<kWidth>(z, args.classes, same_cut),
                                                reinterpret_cast<BlockScratch*>(shared),
                                                shared + sizeof(BlockScratch)};
    const float loss = RowLoss<kForm, kGradient>(row);
    if (threadIdx.x == 0) args.problem.losses[index] = loss;
    __syncthreads();  // The next row's sums overwrite those just read.
  }
}

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CUDA_ROW_KERNELS_CUH_
