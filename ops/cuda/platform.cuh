// The machine as the kernels see it: CUDA under nvcc, or an emulation for checks without a GPU.

#ifndef CB_KERAS_OPS_CUDA_PLATFORM_CUH_
#define CB_KERAS_OPS_CUDA_PLATFORM_CUH_

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef CBK_EMULATE

#include "../check/emulator.h"

#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define CBK_SHARED_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]

namespace cb_keras {

// With more tiles or rows than this a block takes several in turn.
constexpr int64_t MaxBlocks() { return 65535; }

// Threads that a multiprocessor of any architecture built for can hold, for launch bounds.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr int kResidentThreads = 1024;
#else
constexpr int kResidentThreads = 1536;
#endif

// 2^x within 2^-22 of itself, 0 where the result would be subnormal, NaN for NaN.
__device__ __forceinline__ float Exp2Approx(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// 1 / x within 2^-23 of itself, for normal x whose reciprocal is normal too.
__device__ __forceinline__ float ReciprocalApprox(float x) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// sqrt(x) within 2^-23 of itself, for x = 0 or normal.
__device__ __forceinline__ float SqrtApprox(float x) {
  float result;
  asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// Stores of whole vectors, spelled out because the compiler takes plain ones apart.
__device__ __forceinline__ void StoreGlobal(uint4* address, uint4 bits) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};"
               :
               : "l"(__cvta_generic_to_global(address)), "r"(bits.x), "r"(bits.y), "r"(bits.z),
                 "r"(bits.w)
               : "memory");
}
__device__ __forceinline__ void StoreGlobal(uint2* address, uint2 bits) {
  asm volatile("st.global.v2.b32 [%0], {%1, %2};"
               :
               : "l"(__cvta_generic_to_global(address)), "r"(bits.x), "r"(bits.y)
               : "memory");
}
__device__ __forceinline__ void StoreGlobal(uint32_t* address, uint32_t bits) { *address = bits; }
__device__ __forceinline__ void StoreShared(uint2* address, uint2 bits) {
  asm volatile("st.shared.v2.b32 [%0], {%1, %2};"
               :
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(address))), "r"(bits.x),
                 "r"(bits.y)
               : "memory");
}
__device__ __forceinline__ void StoreShared(uint32_t* address, uint32_t bits) { *address = bits; }
__device__ __forceinline__ void StoreShared(uint4* address, uint4 bits) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};"
               :
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(address))), "r"(bits.x),
                 "r"(bits.y), "r"(bits.z), "r"(bits.w)
               : "memory");
}

template <typename Args>
cudaError_t StartKernel(void (*kernel)(Args), int64_t blocks, int threads, size_t shared_bytes,
                        cudaStream_t stream, const Args& args) {
  void* parameters[] = {const_cast<Args*>(&args)};
  return cudaLaunchKernel(reinterpret_cast<const void*>(kernel),
                          dim3(static_cast<unsigned>(blocks)),
                          dim3(static_cast<unsigned>(threads)), parameters, shared_bytes, stream);
}

}  // namespace cb_keras

#endif  // CBK_EMULATE

#endif  // CB_KERAS_OPS_CUDA_PLATFORM_CUH_
