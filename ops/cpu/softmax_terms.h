// What the softmax losses make of sums of exponentials.

#ifndef CB_KERAS_OPS_CPU_SOFTMAX_TERMS_H_
#define CB_KERAS_OPS_CPU_SOFTMAX_TERMS_H_

#include <float.h>

#include "simd.h"
#include "terms.h"

namespace cb_keras {
namespace CBK_ISA {

// -log(q) for 0 <= q <= 1/2, relative error 5e-7; of 0 it is 88.
inline Vec MinusLog(Vec q) {
  float mantissas[Vec::kLanes], exponents[Vec::kLanes];
  q.Store(mantissas);
  for (int i = 0; i < Vec::kLanes; ++i) {
    const uint32_t bits = Bits(mantissas[i]);
    exponents[i] = static_cast<float>(127 - static_cast<int>(bits >> 23));
    mantissas[i] = FromBits((bits & 0x7fffffu) | 0x3f800000u);
  }
  const Vec above_one = Vec::Load(mantissas) - Vec::Set(1.0f);
  return Vec::Load(exponents) * Vec::Set(0.69314718056f) - Log1p(above_one);
}

// (1 - p)^gamma * crossentropy and its derivative by the cross-entropy, p = own / (own + others).
// Only the sum of the others' exponentials is accurate where p is near 1.
template <Modulator kModulator>
inline Term FocalOfSoftmax(Vec own, Vec others, Vec crossentropy, Vec gamma) {
  const Vec one = Vec::Set(1.0f);
  if (kModulator == Modulator::kNone) return {crossentropy, one};
  const Vec total = own + others;
  const Vec q = others / total, p = own / total;
  // Both vanish together.
  const Vec ratio = Select(q > Vec::Set(FLT_MIN), crossentropy / q, one);
  Vec power = q, inner = MulAdd(p, ratio, one);
  if (kModulator == Modulator::kSquare) {
    power = q * q;
    inner = MulAdd(p + p, ratio, one);
  }
  if (kModulator == Modulator::kPower) {
    const Vec near_one = Log1p(Min(one, own / others));
    // MinusLog of NaN is not a logarithm.
    const Vec far_from_one = Max(MinusLog(q), Vec::Set(0.0f));
    power = ExpMinus(gamma * Select(others > own, near_one, far_from_one));
    inner = MulAdd(gamma * p, ratio, one);
  }
  return {power * crossentropy, power * inner};
}

// The sum of maximum - z over a tile.
inline float DistancesOfTile(const float* z, int n, float maximum) {
  Vec sum = Vec::Set(0.0f);
  const Vec maxima = Vec::Set(maximum);
  ForEachVec(n, [&](int i, int lanes, auto whole) {
    sum = sum + (maxima - LoadVec(z + i, lanes, maximum, whole));
  });
  return Sum(sum);
}

inline void ShiftTile(float* values, int n, float by) {
  const Vec shift = Vec::Set(by);
  ForEachVec(n, [&](int i, int lanes, auto whole) {
    StoreVec(LoadVec(values + i, lanes, 0.0f, whole) - shift, values + i, lanes, whole);
  });
}

// Multi-hot labels times class weights in `targets`; their sum, and the sum of their sizes.
inline void TargetsOfTile(const float* y, const float* w, int n, float* targets, double* total,
                          double* size) {
  constexpr int kPiece = 256;  // as SumsOfTile
  for (int start = 0; start < n; start += kPiece) {
    Vec sum = Vec::Set(0.0f), absolute = Vec::Set(0.0f);
    ForEachVec(n - start < kPiece ? n - start : kPiece, [&](int i, int lanes, auto whole) {
      const Vec target = LoadVec(y + start + i, lanes, 0.0f, whole) *
                         LoadVec(w + start + i, lanes, 0.0f, whole);
      StoreVec(target, targets + start + i, lanes, whole);
      sum = sum + target;
      absolute = absolute + Abs(target);
    });
    *total += Sum(sum);
    *size += Sum(absolute);
  }
}

// Exponentials of a tile, exactly 1 for the largest; the sum of the smaller ones, and the number of
// the largest.
inline void ExponentialsBelow(const float* z, int n, float maximum, float* out, double* below,
                              double* largest) {
  const float infinity = std::numeric_limits<float>::infinity();
  const Vec maxima = Vec::Set(maximum), zero = Vec::Set(0.0f), one = Vec::Set(1.0f);
  Vec sum = zero, count = zero;
  ForEachVec(n, [&](int i, int lanes, auto whole) {
    const Vec u = LoadVec(z + i, lanes, -infinity, whole);
    const Vec::Mask is_largest = u == maxima;
    const Vec e = ExpMinus(maxima - u);
    StoreVec(Select(is_largest, one, e), out + i, lanes, whole);
    sum = sum + Select(is_largest, zero, e);
    count = count + Select(is_largest, one, zero);
  });
  *below += Sum(sum);
  *largest += Sum(count);
}

// Spreads a share of a row's targets evenly.
inline void SmoothTile(float* targets, int n, float kept, float spread) {
  const Vec factor = Vec::Set(kept), addend = Vec::Set(spread);
  ForEachVec(n, [&](int i, int lanes, auto whole) {
    const Vec target = LoadVec(targets + i, lanes, 0.0f, whole);
    StoreVec(MulAdd(factor, target, addend), targets + i, lanes, whole);
  });
}

// What all tiles of a row with multi-hot labels have in common.
struct MixedRow {
  float maximum;
  float rest;       // exponentials of all classes but one of the largest
  float log_total;  // of all exponentials
  bool one_largest;
  float gamma;

  // Of logits: where the one largest is, which alone may have p near 1.
  Vec::Mask IsTop(Vec z) const {
    const Vec single = Vec::Set(one_largest ? 1.0f : 0.0f), zero = Vec::Set(0.0f);
    return Select(z == Vec::Set(maximum), single, zero) > zero;
  }
};

// Sums over a row: its loss, d loss / d CE_c of all classes, and of all but the one largest.
struct MixedSums {
  double loss = 0.0, slopes = 0.0, slopes_of_rest = 0.0;
};

// `targets` become d loss / d CE_c.
template <Modulator kModulator>
inline void MixedTile(const MixedRow& row, const float* z, const float* e, int n, float* targets,
                      MixedSums* sums) {
  const Vec zero = Vec::Set(0.0f), gammas = Vec::Set(row.gamma), rest = Vec::Set(row.rest);
  const Vec total = Vec::Set(1.0f) + rest;
  Vec losses = zero, slopes = zero, slopes_of_rest = zero;
  ForEachVec(n, [&](int i, int lanes, auto whole) {
    const Vec u = LoadVec(z + i, lanes, 0.0f, whole);
    const Vec own = LoadVec(e + i, lanes, 0.0f, whole);
    const Vec target = LoadVec(targets + i, lanes, 0.0f, whole);
    const Vec::Mask is_top = row.IsTop(u), nothing = target == zero;
    const Vec crossentropy = (Vec::Set(row.maximum) - u) + Vec::Set(row.log_total);
    const Term term = FocalOfSoftmax<kModulator>(own, Select(is_top, rest, total - own),
                                                 crossentropy, gammas);
    const Vec slope = Select(nothing, zero, target * term.slope);
    losses = losses + Select(nothing, zero, target * term.loss);
    slopes = slopes + slope;
    slopes_of_rest = slopes_of_rest + Select(is_top, zero, slope);
    StoreVec(slope, targets + i, lanes, whole);
  });
  sums->loss += Sum(losses);
  sums->slopes += Sum(slopes);
  sums->slopes_of_rest += Sum(slopes_of_rest);
}

// The gradient of a tile from its slopes: factor * (sum of slopes * p_c - slope_c).
inline void MixedGradientOfTile(const MixedRow& row, const MixedSums& sums, const float* z,
                                const float* e, const float* slopes, int n, float factor,
                                float* out) {
  const double total = 1.0 + static_cast<double>(row.rest);
  const Vec common = Vec::Set(static_cast<float>(sums.slopes / total));
  const Vec of_top =
      Vec::Set(static_cast<float>(sums.slopes_of_rest - sums.slopes * (row.rest / total)));
  const Vec factors = Vec::Set(factor);
  ForEachVec(n, [&](int i, int lanes, auto whole) {
    const Vec::Mask is_top = row.IsTop(LoadVec(z + i, lanes, 0.0f, whole));
    const Vec own = LoadVec(e + i, lanes, 0.0f, whole);
    const Vec usual = common * own - LoadVec(slopes + i, lanes, 0.0f, whole);
    StoreVec(factors * Select(is_top, of_top, usual), out + i, lanes, whole);
  });
}

}  // namespace CBK_ISA
}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CPU_SOFTMAX_TERMS_H_
