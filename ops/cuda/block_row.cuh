// One row of many classes, as the block that works on it sees it.

#ifndef CB_KERAS_OPS_CUDA_BLOCK_ROW_CUH_
#define CB_KERAS_OPS_CUDA_BLOCK_ROW_CUH_

#include "loss_rows.cuh"
#include "memory.cuh"
#include "reduce.cuh"

namespace cb_keras {

// Elements per vector. Four with multi-hot labels, whose own vectors then begin there as well. Four of
// adjusted logits: a thread reads what changes them one by one, and a row's vectors may begin anywhere in
// those arrays; so a warp's reads there touch as many cache lines as a vector has elements. Measured of
// float32 on an H100: two are slower, 157 against 150 us of (4096, 8142), 10.3 against 7.6 of (512, 1000).
// Of bfloat16: eight take 190 us and 8.0, two 144 and 10.0; four read as those of float32 do.
template <typename T, Form kForm, bool kAdjusted>
constexpr int kRowWidth = kForm == Form::kMultiHot || kAdjusted ? 4 : kWidest<T>;

// What the second pass needs of a vector: its logits as they were read, or four slopes.
template <typename T, Form kForm, bool kAdjusted>
constexpr int kStageBytes = kForm == Form::kMultiHot
                                ? 16
                                : kRowWidth<T, kForm, kAdjusted> * static_cast<int>(sizeof(T));

// One row and what the block has at hand for it. `stage`, in shared memory, has kStageBytes for
// each of the first LossArgs::staged_vectors; every thread reads only what it wrote there itself.
// kAdjusted: the loss takes other logits than these.
template <typename T, int kWidth, bool kAdjusted = false>
struct BlockRow {
  const LossArgs& args;
  int64_t index;
  const T* z;
  T* gradient;
  Span<kWidth> span;
  BlockScratch* scratch;
  unsigned char* stage;

  __device__ __forceinline__ Bits<T, kWidth> Load(int i) const {
    return LoadBits<T, kWidth>(z + span.VectorStart(i));
  }
  // The logits of vector i and of class c, as the loss takes them.
  __device__ __forceinline__ void Logits(int i, const Bits<T, kWidth>& bits,
                                         float (&values)[kWidth]) const {
    Unpack<T>(bits, values);
    if constexpr (kAdjusted) {
#pragma unroll
      for (int k = 0; k < kWidth; ++k) {
        values[k] = AdjustedLogit(args.problem, span.VectorStart(i) + k, values[k]);
      }
    }
  }
  __device__ __forceinline__ float Logit(int c) const {
    return kAdjusted ? AdjustedLogit(args.problem, c, ToFloat(z[c])) : ToFloat(z[c]);
  }
  // The gradient by the logit of class c, from that by what the loss takes.
  __device__ __forceinline__ float Gradient(int c, float value) const {
    return kAdjusted ? TimesFactorOf(args.problem, c, value) : value;
  }
  __device__ __forceinline__ void Store(int i, const float (&values)[kWidth]) const {
    StoreBits<T, kWidth>(gradient + span.VectorStart(i), Pack<T>(values), args.stream_gradient);
  }
};

// values[at] = value, where there is such an element. No run-time index: registers have none.
template <int n>
__device__ __forceinline__ void Replace(float (&values)[n], int at, float value) {
  if (at < 0 || at >= n) return;
#pragma unroll
  for (int i = 0; i < n; ++i) values[i] = i == at ? value : values[i];
}

template <int n>
__device__ __forceinline__ void Negate(float (&values)[n], int at) {
  if (at < 0 || at >= n) return;
#pragma unroll
  for (int i = 0; i < n; ++i) values[i] = i == at ? -values[i] : values[i];
}

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CUDA_BLOCK_ROW_CUH_
