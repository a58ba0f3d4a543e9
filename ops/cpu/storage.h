// Rows of float32, bfloat16 or float16 in memory, read and written as tiles of float32.

#ifndef CB_KERAS_OPS_CPU_STORAGE_H_
#define CB_KERAS_OPS_CPU_STORAGE_H_

#include <stdint.h>
#include <string.h>

#include "simd.h"

namespace cb_keras {
namespace CBK_ISA {

struct Float32 {
  using Storage = float;
  static float Load(float x) { return x; }
  static float Store(float x) { return x; }
};

struct Bfloat16 {
  using Storage = uint16_t;
  static float Load(uint16_t x) { return FromBits(static_cast<uint32_t>(x) << 16); }
  static uint16_t Store(float x) {
    const uint32_t bits = Bits(x);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;  // to nearest even
    return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
  }
};

// IEEE binary16 by integer arithmetic, which every instruction set has.
struct Float16 {
  using Storage = uint16_t;
  static float Load(uint16_t x) {
    const uint32_t magnitude = x & 0x7fffu;
    // The exponent's bias moves from 15 to 127 by a product. Subnormal halves are made of integers:
    // this thread may flush subnormal floats to zero.
    const float normal = FromBits((magnitude << 13) + ((127u - 15u) << 23));
    const float subnormal = static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f;
    float value = magnitude < 0x400u ? subnormal : normal;
    value = magnitude >= 0x7c00u ? FromBits(0x7f800000u | (magnitude << 13)) : value;
    return FromBits(Bits(value) | (static_cast<uint32_t>(x & 0x8000u) << 16));
  }
  static uint16_t Store(float x) {
    const uint32_t sign = (Bits(x) >> 16) & 0x8000u;
    const uint32_t magnitude = Bits(x) & 0x7fffffffu;
    // Below the normal range an addition rounds at the right place, above it an integer does.
    const uint32_t subnormal = Bits(FromBits(magnitude) + 0.5f) - Bits(0.5f);
    const uint32_t odd = (magnitude >> 13) & 1u;
    const uint32_t normal = (magnitude - (112u << 23) + 0xfffu + odd) >> 13;
    uint32_t half = magnitude < (113u << 23) ? subnormal : normal;
    half = magnitude >= (143u << 23) ? 0x7c00u : half;  // 65536 and more
    half = magnitude > 0x7f800000u ? 0x7e00u : half;
    return static_cast<uint16_t>(sign | half);
  }
};

template <typename Type>
inline void LoadTile(const typename Type::Storage* from, int n, float* to) {
#pragma omp simd
  for (int i = 0; i < n; ++i) to[i] = Type::Load(from[i]);
}

template <typename Type>
inline void StoreTile(const float* from, int n, typename Type::Storage* to) {
#pragma omp simd
  for (int i = 0; i < n; ++i) to[i] = Type::Store(from[i]);
}

// memcpy past the caches.
inline void StreamCopy(void* to, const void* from, int64_t bytes) {
#if defined(__x86_64__)
  char* target = static_cast<char*>(to);
  const char* source = static_cast<const char*>(from);
#if defined(__AVX512F__)
  constexpr int kLine = 64;
#else
  constexpr int kLine = 16;
#endif
  int64_t head = (kLine - reinterpret_cast<uintptr_t>(target) % kLine) % kLine;
  if (head > bytes) head = bytes;
  memcpy(target, source, head);
  int64_t i = head;
  for (; i + kLine <= bytes; i += kLine) {
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(target + i), _mm512_loadu_si512(source + i));
#else
    _mm_stream_si128(reinterpret_cast<__m128i*>(target + i),
                     _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i)));
#endif
  }
  memcpy(target + i, source + i, bytes - i);
#else
  memcpy(to, from, bytes);
#endif
}

// Orders streamed stores before whatever tells other threads of them.
inline void FinishStreaming() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

}  // namespace CBK_ISA
}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CPU_STORAGE_H_
