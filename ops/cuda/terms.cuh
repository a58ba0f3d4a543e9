// One class's share of the sigmoid and focal losses, and its derivative.
//
// Everything is a function of x = z for a class that is absent and x = -z for one that is present:
//
//   value = q^gamma softplus(x)         q = 1 - p_t = 1 / (1 + exp(-x))
//   slope = d value / dx = q^gamma (gamma (1 - q) softplus(x) + q)
//
// With e = exp(-|x|) nothing overflows or cancels: softplus(x) = max(x, 0) + log1p(e), and q is
// 1 / (1 + e) or e / (1 + e).
//
// Accuracy. Memory is to be the limit, so e and 1 / (1 + e) come from the GPU's approximate
// instructions. The exponent |x| log2(e) is at most 126 (beyond, e is subnormal and counts as 0);
// it is rounded to 2^-24 of itself and the constant is off by 2^-26, so e is off by at most
// 126 ln(2) (2^-24 + 2^-26) + 2^-22 = 6.8e-6 of itself. A product such as q^gamma softplus(x) with
// very negative x has the factors' errors added, but it is subnormal itself unless |x| (1 + gamma)
// is below 126 ln(2), so the sum has the same bound. The other operations add less than 2e-6:
// results are good to 1e-5. A large gamma multiplies the error of log1p(e), which is up to 1e-6 of
// itself, in the exponent of q^gamma = exp(-gamma softplus(-x)): 1e-6 gamma log1p(e) come on top.

#ifndef CB_KERAS_OPS_CUDA_TERMS_CUH_
#define CB_KERAS_OPS_CUDA_TERMS_CUH_

#include <math.h>

#include "platform.cuh"

namespace cb_keras {

constexpr float kLog2E = 1.44269504f;
constexpr float kLn2 = 0.693147181f;

// How q^gamma is computed; the same for all elements of a launch.
struct Modulation {
  enum Kind { kNone, kIdentity, kSquare, kSquareRoot, kPower };
  Kind kind;
  float gamma;
};

// log1p(e) / e for 0 <= e <= 1: minimax polynomial, relative error 2.2e-7.
__device__ __forceinline__ float Log1pOver(float e) {
  float p = -0.00877894927f;
  p = fmaf(p, e, 0.0449866243f);
  p = fmaf(p, e, -0.109022886f);
  p = fmaf(p, e, 0.178472072f);
  p = fmaf(p, e, -0.245368659f);
  p = fmaf(p, e, 0.332840651f);
  p = fmaf(p, e, -0.499981791f);
  return fmaf(p, e, 1.0f);
}

// q^gamma = exp(-gamma softplus(-x)) for any gamma, given log1p(e). The exponent may be large, so
// its own rounding errors are taken along in a second word.
__device__ __forceinline__ float PowerOfQ(float x, float log1p, float gamma) {
  const float whole = fmaxf(-x, 0.0f);
  const float sum = whole + log1p;
  const float sum_rest = (whole - sum) + log1p;
  const float exponent = gamma * sum;
  const float rest = fmaf(gamma, sum, -exponent) + gamma * sum_rest;
  const float power = expf(-exponent);
  // Where exp underflows, `rest` may be inf - inf. Written so that NaN stays NaN.
  return exponent >= 104.0f ? 0.0f : fmaf(power, -rest, power);
}

// factors = q^gamma, element by element.
template <int n>
__device__ __forceinline__ void Modulate(const Modulation& modulation, const float (&x)[n],
                                         const float (&q)[n], const float (&log1p)[n],
                                         float (&factors)[n]) {
  if (modulation.kind == Modulation::kIdentity) {
#pragma unroll
    for (int i = 0; i < n; ++i) factors[i] = q[i];
  } else if (modulation.kind == Modulation::kSquare) {
#pragma unroll
    for (int i = 0; i < n; ++i) factors[i] = q[i] * q[i];
  } else if (modulation.kind == Modulation::kSquareRoot) {
#pragma unroll
    for (int i = 0; i < n; ++i) factors[i] = SqrtApprox(q[i]);
  } else {
#pragma unroll
    for (int i = 0; i < n; ++i) factors[i] = PowerOfQ(x[i], log1p[i], modulation.gamma);
  }
}

// values and slopes of n classes; kFocal: with modulation.
template <bool kFocal, int n>
__device__ __forceinline__ void Evaluate(const Modulation& modulation, const float (&x)[n],
                                         float (&values)[n], float (&slopes)[n]) {
  float complements[n], log1ps[n];
#pragma unroll
  for (int i = 0; i < n; ++i) {
    const float e = Exp2Approx(fabsf(x[i]) * -kLog2E);
    const float larger = ReciprocalApprox(1.0f + e);
    const float smaller = e * larger;
    const float ratio = Log1pOver(e);
    slopes[i] = x[i] >= 0.0f ? larger : smaller;
    complements[i] = x[i] >= 0.0f ? smaller : larger;
    values[i] = fmaf(e, ratio, fmaxf(x[i], 0.0f));
    log1ps[i] = e * ratio;
  }
  if constexpr (kFocal) {
    float factors[n];
    Modulate(modulation, x, slopes, log1ps, factors);
#pragma unroll
    for (int i = 0; i < n; ++i) {
      const float inner = fmaf(modulation.gamma * complements[i], values[i], slopes[i]);
      slopes[i] = factors[i] * inner;
      values[i] *= factors[i];
    }
  }
}

// A multi-hot label, NaN where it is not in range.
__device__ __forceinline__ float ValidLabel(float y) {
  return y >= 0.0f && y <= kCbkLargestLabel ? y : NAN;
}

// The same for labels between 0 and 1, and with slopes by z instead of x: y times the term of a
// present class and 1 - y times that of an absent one. Labels of 0 and 1 need only one of the two,
// which also keeps 0 * infinity out.
template <bool kFocal, int n>
__device__ __forceinline__ void EvaluateMixed(const Modulation& modulation, const float (&z)[n],
                                              const float (&y)[n], float (&values)[n],
                                              float (&slopes)[n]) {
  float x[n];
  bool any_soft = false;
#pragma unroll
  for (int i = 0; i < n; ++i) {
    x[i] = y[i] == 1.0f ? -z[i] : z[i];
    any_soft |= !(y[i] == 0.0f || y[i] == 1.0f);
  }
  Evaluate<kFocal>(modulation, x, values, slopes);
#pragma unroll
  for (int i = 0; i < n; ++i) slopes[i] = y[i] == 1.0f ? -slopes[i] : slopes[i];
  if (!any_soft) return;

  float present_values[n], present_slopes[n];
#pragma unroll
  for (int i = 0; i < n; ++i) x[i] = -z[i];
  Evaluate<kFocal>(modulation, x, present_values, present_slopes);
#pragma unroll
  for (int i = 0; i < n; ++i) {
    if (y[i] == 0.0f || y[i] == 1.0f) continue;
    values[i] = y[i] * present_values[i] + (1.0f - y[i]) * values[i];
    slopes[i] = (1.0f - y[i]) * slopes[i] - y[i] * present_slopes[i];
  }
}

// A sum in which every value passes through few additions.
template <int n>
__device__ __forceinline__ float SumOf(const float (&values)[n]) {
  float sums[n];
#pragma unroll
  for (int i = 0; i < n; ++i) sums[i] = values[i];
#pragma unroll
  for (int width = n / 2; width > 0; width /= 2) {
#pragma unroll
    for (int i = 0; i < width; ++i) sums[i] += sums[i + width];
  }
  return sums[0];
}

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CUDA_TERMS_CUH_
