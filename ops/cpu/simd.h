// Vectors of float32 for one instruction set: 16 lanes of AVX-512, 8 of AVX2, else 4 lanes by the
// compiler's own vector extension (SSE2, NEON).
//
// All operations treat NaN as IEEE does, but for Min and Max: they return `b` where either is NaN.

#ifndef CB_KERAS_OPS_CPU_SIMD_H_
#define CB_KERAS_OPS_CPU_SIMD_H_

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace cb_keras {
namespace CBK_ISA {

inline uint32_t Bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof(bits));
  return bits;
}

inline float FromBits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof(x));
  return x;
}

#if defined(__AVX512F__) && defined(__AVX512DQ__)

struct Vec {
  static constexpr int kLanes = 16;
  static constexpr float kExpLimit = 110.0f;  // exp(-110) is 0 in float32
  using Mask = __mmask16;
  __m512 v;

  static Vec Set(float x) { return {_mm512_set1_ps(x)}; }
  static Vec Load(const float* p) { return {_mm512_loadu_ps(p)}; }
  void Store(float* p) const { _mm512_storeu_ps(p, v); }
  // The first n lanes of memory, `fill` in the others.
  static Vec LoadPartial(const float* p, int n, float fill) {
    return {_mm512_mask_loadu_ps(_mm512_set1_ps(fill), (1u << n) - 1u, p)};
  }
  void StorePartial(float* p, int n) const { _mm512_mask_storeu_ps(p, (1u << n) - 1u, v); }
  // Lane number `index`, and no other.
  static Mask Only(int index) { return static_cast<Mask>(1u << index); }
  static Mask None() { return 0; }

  friend Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
  friend Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
  friend Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
  friend Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
  friend Mask operator>(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ); }
  friend Mask operator==(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ); }
};

inline Vec MulAdd(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec NegMulAdd(Vec a, Vec b, Vec c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
// -n ln 2 - a
inline Vec MinusMultipleOfLn2(Vec n, Vec a) {
  return {_mm512_fnmsub_ps(n.v, _mm512_set1_ps(0.69314718056f), a.v)};
}
inline Vec Min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vec Max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec Abs(Vec a) { return {_mm512_abs_ps(a.v)}; }
inline Vec Select(Vec::Mask m, Vec yes, Vec no) { return {_mm512_mask_blend_ps(m, no.v, yes.v)}; }
inline Vec NegateWhere(Vec::Mask m, Vec a) {
  return {_mm512_mask_xor_ps(a.v, m, a.v, _mm512_set1_ps(-0.0f))};
}
// p * 2^n for p near 1 and a whole n <= 0 that was rounded by adding 1.5 * 2^23 to make `shifted`.
inline Vec ScaleByPower(Vec p, Vec n, Vec shifted) {
  (void)shifted;
  return {_mm512_scalef_ps(p.v, n.v)};
}
inline float Sum(Vec a) { return _mm512_reduce_add_ps(a.v); }
inline float Largest(Vec a) { return _mm512_reduce_max_ps(a.v); }

#elif defined(__AVX2__) && defined(__FMA__)

struct Vec {
  static constexpr int kLanes = 8;
  static constexpr float kExpLimit = 88.3f;  // 2^-127 is the last that ScaleByPower takes, as 0
  using Mask = __m256;
  __m256 v;

  static Vec Set(float x) { return {_mm256_set1_ps(x)}; }
  static Vec Load(const float* p) { return {_mm256_loadu_ps(p)}; }
  void Store(float* p) const { _mm256_storeu_ps(p, v); }
  static Vec LoadPartial(const float* p, int n, float fill) {
    float lanes[kLanes];
    for (float& lane : lanes) lane = fill;
    memcpy(lanes, p, n * sizeof(float));
    return Load(lanes);
  }
  void StorePartial(float* p, int n) const {
    float lanes[kLanes];
    Store(lanes);
    memcpy(p, lanes, n * sizeof(float));
  }
  static Mask Only(int index) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(lanes, _mm256_set1_epi32(index)));
  }
  static Mask None() { return _mm256_setzero_ps(); }

  friend Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
  friend Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
  friend Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
  friend Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
  friend Mask operator>(Vec a, Vec b) { return _mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ); }
  friend Mask operator==(Vec a, Vec b) { return _mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ); }
};

inline Vec MulAdd(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec NegMulAdd(Vec a, Vec b, Vec c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }
inline Vec MinusMultipleOfLn2(Vec n, Vec a) {
  return {_mm256_fnmsub_ps(n.v, _mm256_set1_ps(0.69314718056f), a.v)};
}
inline Vec Min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
inline Vec Max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Vec Abs(Vec a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
inline Vec Select(Vec::Mask m, Vec yes, Vec no) { return {_mm256_blendv_ps(no.v, yes.v, m)}; }
inline Vec NegateWhere(Vec::Mask m, Vec a) {
  return {_mm256_xor_ps(a.v, _mm256_and_ps(m, _mm256_set1_ps(-0.0f)))};
}
inline Vec ScaleByPower(Vec p, Vec n, Vec shifted) {
  (void)n;
  const __m256i exponent = _mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(shifted.v), 23),
                                            _mm256_set1_epi32(127 << 23));
  return p * Vec{_mm256_castsi256_ps(exponent)};
}
inline float Sum(Vec a) {
  float lanes[8], sum = 0.0f;
  a.Store(lanes);
  for (float lane : lanes) sum += lane;
  return sum;
}
inline float Largest(Vec a) {
  float lanes[8];
  a.Store(lanes);
  float largest = lanes[0];
  for (float lane : lanes) largest = lane > largest ? lane : largest;
  return largest;
}

#else

typedef float Float4 __attribute__((vector_size(16)));
typedef int32_t Int4 __attribute__((vector_size(16)));

struct Vec {
  static constexpr int kLanes = 4;
  static constexpr float kExpLimit = 88.3f;  // 2^-127 is the last that ScaleByPower takes, as 0
  using Mask = Int4;
  Float4 v;

  static Vec Set(float x) { return {Float4{x, x, x, x}}; }
  static Vec Load(const float* p) {
    Vec a;
    memcpy(&a.v, p, sizeof(a.v));
    return a;
  }
  void Store(float* p) const { memcpy(p, &v, sizeof(v)); }
  static Vec LoadPartial(const float* p, int n, float fill) {
    float lanes[kLanes];
    for (float& lane : lanes) lane = fill;
    memcpy(lanes, p, n * sizeof(float));
    return Load(lanes);
  }
  void StorePartial(float* p, int n) const {
    float lanes[kLanes];
    Store(lanes);
    memcpy(p, lanes, n * sizeof(float));
  }
  static Mask Only(int index) { return Int4{0, 1, 2, 3} == Int4{index, index, index, index}; }
  static Mask None() { return Int4{0, 0, 0, 0}; }

  friend Vec operator+(Vec a, Vec b) { return {a.v + b.v}; }
  friend Vec operator-(Vec a, Vec b) { return {a.v - b.v}; }
  friend Vec operator*(Vec a, Vec b) { return {a.v * b.v}; }
  friend Vec operator/(Vec a, Vec b) { return {a.v / b.v}; }
  friend Mask operator>(Vec a, Vec b) { return a.v > b.v; }
  friend Mask operator==(Vec a, Vec b) { return a.v == b.v; }
};

inline Vec Select(Vec::Mask m, Vec yes, Vec no) {
  return {reinterpret_cast<Float4>((m & reinterpret_cast<Int4>(yes.v)) |
                                   (~m & reinterpret_cast<Int4>(no.v)))};
}
inline Vec MulAdd(Vec a, Vec b, Vec c) { return {a.v * b.v + c.v}; }
inline Vec NegMulAdd(Vec a, Vec b, Vec c) { return {c.v - a.v * b.v}; }
inline Vec Min(Vec a, Vec b) { return Select(b > a, a, b); }
inline Vec Max(Vec a, Vec b) { return Select(a > b, a, b); }
inline Vec NegateWhere(Vec::Mask m, Vec a) {
  const Int4 sign = reinterpret_cast<Int4>(Vec::Set(-0.0f).v);
  return {reinterpret_cast<Float4>(reinterpret_cast<Int4>(a.v) ^ (m & sign))};
}
inline Vec Abs(Vec a) {
  const Int4 sign = reinterpret_cast<Int4>(Vec::Set(-0.0f).v);
  return {reinterpret_cast<Float4>(reinterpret_cast<Int4>(a.v) & ~sign)};
}
// Products are rounded here, so ln 2 comes in two parts; n times the first is exact.
inline Vec MinusMultipleOfLn2(Vec n, Vec a) {
  return {(n.v * -0.693145751953125f - a.v) - n.v * 1.42860682030941723e-6f};
}
inline Vec ScaleByPower(Vec p, Vec n, Vec shifted) {
  (void)n;
  const Int4 exponent = (reinterpret_cast<Int4>(shifted.v) << 23) + (127 << 23);
  return p * Vec{reinterpret_cast<Float4>(exponent)};
}
inline float Sum(Vec a) { return (a.v[0] + a.v[1]) + (a.v[2] + a.v[3]); }
inline float Largest(Vec a) {
  float largest = a.v[0];
  for (int i = 1; i < 4; ++i) largest = a.v[i] > largest ? a.v[i] : largest;
  return largest;
}

#endif

// exp(-a) for a >= 0, relative error 4e-7; 0 where the result is below about 2^-126. NaN stays NaN.
inline Vec ExpMinus(Vec a) {
  a = Min(Vec::Set(Vec::kExpLimit), a);
  const Vec magic = Vec::Set(12582912.0f);  // adding 1.5 * 2^23 rounds to a whole number
  const Vec shifted = MulAdd(a, Vec::Set(-1.44269504089f), magic);
  const Vec n = shifted - magic;
  const Vec r = MinusMultipleOfLn2(n, a);
  // Minimax in relative error on [-ln 2 / 2, ln 2 / 2].
  Vec p = Vec::Set(0.00829761982243f);
  p = MulAdd(p, r, Vec::Set(0.0419156292952f));
  p = MulAdd(p, r, Vec::Set(0.166675765377f));
  p = MulAdd(p, r, Vec::Set(0.499988926608f));
  p = MulAdd(p, r, Vec::Set(0.99999969107f));
  p = MulAdd(p, r, Vec::Set(1.00000007187f));
  return ScaleByPower(p, n, shifted);
}

// log(1 + e) for e in [0, 1], relative error 3e-7; minimax as above.
inline Vec Log1p(Vec e) {
  Vec p = Vec::Set(-0.0085392235969f);
  p = MulAdd(p, e, Vec::Set(0.0440896824059f));
  p = MulAdd(p, e, Vec::Set(-0.107681779525f));
  p = MulAdd(p, e, Vec::Set(0.177452457428f));
  p = MulAdd(p, e, Vec::Set(-0.24495464234f));
  p = MulAdd(p, e, Vec::Set(0.332754799902f));
  p = MulAdd(p, e, Vec::Set(-0.499974054082f));
  p = MulAdd(p, e, Vec::Set(0.999999805668f));
  return p * e;
}

}  // namespace CBK_ISA
}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CPU_SIMD_H_
