// Reading and writing logits: element types, vectors of elements, and stretches that begin and end
// anywhere.

#ifndef CB_KERAS_OPS_CUDA_MEMORY_CUH_
#define CB_KERAS_OPS_CUDA_MEMORY_CUH_

#include "platform.cuh"

namespace cb_keras {

__device__ __forceinline__ float ToFloat(float value) { return value; }
__device__ __forceinline__ float ToFloat(__half value) { return __half2float(value); }
__device__ __forceinline__ float ToFloat(__nv_bfloat16 value) { return __bfloat162float(value); }

__device__ __forceinline__ void FromFloat(float value, float* result) { *result = value; }
__device__ __forceinline__ void FromFloat(float value, __half* result) {
  *result = __float2half_rn(value);
}
__device__ __forceinline__ void FromFloat(float value, __nv_bfloat16* result) {
  *result = __float2bfloat16_rn(value);
}

// A 16-bit pair shares one 32-bit word, the first element in its low half.
template <typename T>
struct Pair;

template <>
struct Pair<__half> {
  static __device__ __forceinline__ void Unpack(uint32_t word, float* first, float* second) {
    __half2 pair;
    memcpy(&pair, &word, sizeof(pair));
    const float2 values = __half22float2(pair);
    *first = values.x;
    *second = values.y;
  }
  static __device__ __forceinline__ uint32_t Pack(float first, float second) {
    const __half2 pair = __floats2half2_rn(first, second);
    uint32_t word;
    memcpy(&word, &pair, sizeof(word));
    return word;
  }
};

template <>
struct Pair<__nv_bfloat16> {
  static __device__ __forceinline__ void Unpack(uint32_t word, float* first, float* second) {
    *first = __uint_as_float(word << 16);
    *second = __uint_as_float(word & 0xffff0000u);
  }
  static __device__ __forceinline__ uint32_t Pack(float first, float second) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
    uint32_t word;
    memcpy(&word, &pair, sizeof(word));
    return word;
  }
};

template <size_t kBytes>
struct BitsOfSize;
template <>
struct BitsOfSize<4> {
  using Type = uint32_t;
};
template <>
struct BitsOfSize<8> {
  using Type = uint2;
};
template <>
struct BitsOfSize<16> {
  using Type = uint4;
};

// n elements as they lie in memory, read and written by one instruction.
template <typename T, int n>
using Bits = typename BitsOfSize<n * sizeof(T)>::Type;

// As many elements as one thread reads at once at most.
template <typename T>
constexpr int kWidest = 16 / sizeof(T);

// By name instead of by memcpy: the compiler then moves all words by one instruction.
__device__ __forceinline__ void ToWords(uint32_t bits, uint32_t (&words)[1]) { words[0] = bits; }
__device__ __forceinline__ void ToWords(uint2 bits, uint32_t (&words)[2]) {
  words[0] = bits.x;
  words[1] = bits.y;
}
__device__ __forceinline__ void ToWords(uint4 bits, uint32_t (&words)[4]) {
  words[0] = bits.x;
  words[1] = bits.y;
  words[2] = bits.z;
  words[3] = bits.w;
}
__device__ __forceinline__ uint32_t FromWords(const uint32_t (&words)[1]) { return words[0]; }
__device__ __forceinline__ uint2 FromWords(const uint32_t (&words)[2]) {
  return {words[0], words[1]};
}
__device__ __forceinline__ uint4 FromWords(const uint32_t (&words)[4]) {
  return {words[0], words[1], words[2], words[3]};
}

template <typename T, int n>
__device__ __forceinline__ void Unpack(Bits<T, n> bits, float (&values)[n]) {
  uint32_t words[n * sizeof(T) / 4];
  ToWords(bits, words);
  if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (int i = 0; i < n; ++i) values[i] = __uint_as_float(words[i]);
  } else {
#pragma unroll
    for (int i = 0; i < n; i += 2) Pair<T>::Unpack(words[i / 2], &values[i], &values[i + 1]);
  }
}

template <typename T, int n>
__device__ __forceinline__ Bits<T, n> Pack(const float (&values)[n]) {
  uint32_t words[n * sizeof(T) / 4];
  if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (int i = 0; i < n; ++i) words[i] = __float_as_uint(values[i]);
  } else {
#pragma unroll
    for (int i = 0; i < n; i += 2) words[i / 2] = Pair<T>::Pack(values[i], values[i + 1]);
  }
  return FromWords(words);
}

template <typename T, int n>
__device__ __forceinline__ Bits<T, n> LoadBits(const T* address) {
  return __ldg(reinterpret_cast<const Bits<T, n>*>(address));
}

// `stream`: keep the cache for other values, because these will not be read from there.
template <typename T, int n>
__device__ __forceinline__ void StoreBits(T* address, Bits<T, n> bits, bool stream) {
  auto* const target = reinterpret_cast<Bits<T, n>*>(address);
  if (stream) {
    __stcs(target, bits);
  } else {
    StoreGlobal(target, bits);
  }
}

template <int kBytes>
__device__ __forceinline__ int Misalignment(const void* address) {
  return static_cast<int>(reinterpret_cast<uintptr_t>(address) % kBytes);
}

// `size` elements of which `vectors` vectors of n elements, from `head` on, begin at multiples of
// their own size. The elements before and after them, the loose ones, are taken one by one.
template <int n>
struct Span {
  int size;
  int head;
  int vectors;

  __device__ __forceinline__ int VectorStart(int i) const { return head + n * i; }
  __device__ __forceinline__ int LooseCount() const { return size - n * vectors; }
  __device__ __forceinline__ int Loose(int i) const { return i < head ? i : i + n * vectors; }
};

// Where no vectors are allowed, all elements are loose.
template <int n, typename T>
__device__ __forceinline__ Span<n> MakeSpan(const T* start, int size, bool vectors_allowed) {
  constexpr int kBytes = n * static_cast<int>(sizeof(T));
  const int misaligned = Misalignment<kBytes>(start);
  const int head = misaligned == 0 ? 0 : (kBytes - misaligned) / static_cast<int>(sizeof(T));
  if (!vectors_allowed || head >= size) return {size, size, 0};
  return {size, head, (size - head) / n};
}

// Calls use(i, load(i)) for the block's share of [0, count); this thread has up to kBatch loads
// under way before it uses the first.
template <int kBatch, typename LoadFn, typename UseFn>
__device__ __forceinline__ void ForBlockShare(int count, LoadFn load, UseFn use) {
  const int stride = static_cast<int>(blockDim.x);
  for (int first = static_cast<int>(threadIdx.x); first < count; first += kBatch * stride) {
    decltype(load(0)) loaded[kBatch];
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      if (first + k * stride < count) loaded[k] = load(first + k * stride);
    }
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      if (first + k * stride < count) use(first + k * stride, loaded[k]);
    }
  }
}

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CUDA_MEMORY_CUH_
