// The types and functions of the CUDA headers in plain C++, as far as the kernels and their check
// use them; for emulator.h. Device memory is host memory, and the device a tiny one, so that small
// problems already meet its limits.

#ifndef CB_KERAS_OPS_CHECK_EMULATED_CUDA_H_
#define CB_KERAS_OPS_CHECK_EMULATED_CUDA_H_

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "half_bits.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
  unsigned x = 1;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct float2 {
  float x, y;
};
struct __half {
  uint16_t bits;
};
struct __half2 {
  __half x, y;
};
struct __nv_bfloat16 {
  uint16_t bits;
};
struct __nv_bfloat162 {
  __nv_bfloat16 x, y;
};

inline float __half2float(__half value) { return cb_keras::HalfValue(value.bits); }
inline __half __float2half_rn(float value) { return {cb_keras::HalfBits(value)}; }
inline __half2 __floats2half2_rn(float x, float y) {
  return {__float2half_rn(x), __float2half_rn(y)};
}
inline float2 __half22float2(__half2 pair) { return {__half2float(pair.x), __half2float(pair.y)}; }
inline float __bfloat162float(__nv_bfloat16 value) { return cb_keras::BfloatValue(value.bits); }
inline __nv_bfloat16 __float2bfloat16_rn(float value) { return {cb_keras::BfloatBits(value)}; }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
  return {__float2bfloat16_rn(x), __float2bfloat16_rn(y)};
}
inline float __uint_as_float(unsigned bits) { return cb_keras::BitsFloat(bits); }
inline unsigned __float_as_uint(float value) { return cb_keras::FloatBits(value); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(uint64_t{a} * b >> 32);
}

// Vectors must lie at multiples of their size, or the GPU ends the program, too.
template <typename T>
T* Aligned(T* address) {
  if (reinterpret_cast<uintptr_t>(address) % sizeof(T) == 0) return address;
  fprintf(stderr, "emulator: misaligned access\n");
  abort();
}
template <typename T>
T __ldg(const T* address) {
  return *Aligned(address);
}
template <typename T>
void __stcs(T* address, T value) {
  *Aligned(address) = value;
}

typedef int cudaError_t;
typedef void* cudaStream_t;
enum {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidDevice = 101,
};
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrMaxSharedMemoryPerBlockOptin,
  cudaDevAttrMaxSharedMemoryPerMultiprocessor,
  cudaDevAttrReservedSharedMemoryPerBlock,
  cudaDevAttrL2CacheSize,
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };

inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess ? "no error" : "invalid argument";
}
inline cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  const int values[] = {2, 24 << 10, 44 << 10, 1 << 10, 64 << 10};
  return *value = values[attribute], cudaSuccess;
}
inline cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }
inline cudaError_t cudaMalloc(void** address, size_t bytes) {
  *address = malloc(bytes);
  return *address == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
inline cudaError_t cudaFree(void* address) { return free(address), cudaSuccess; }
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  if (bytes > 0) memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemset(void* address, int value, size_t bytes) {
  return memset(address, value, bytes), cudaSuccess;
}
inline cudaError_t cudaMemGetInfo(size_t* available, size_t* total) {
  return *available = *total = size_t{1} << 40, cudaSuccess;  // most of it is only reserved
}
inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }

#endif  // CB_KERAS_OPS_CHECK_EMULATED_CUDA_H_
