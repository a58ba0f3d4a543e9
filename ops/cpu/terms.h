// Sums over a tile of one row, and the gradient of that tile.

#ifndef CB_KERAS_OPS_CPU_TERMS_H_
#define CB_KERAS_OPS_CPU_TERMS_H_

#include <limits>
#include <type_traits>

#include "../class_balanced_loss.h"
#include "simd.h"

namespace cb_keras {
namespace CBK_ISA {

enum class Modulator { kNone, kLinear, kSquare, kPower };  // (1 - p_t)^gamma, gamma 0, 1, 2, any

// Lanes past the end of a row hold a logit whose terms are all exactly 0 for a negative class.
constexpr float kNoLogit = -1e4f;

// Calls body(i, lanes, whole) for every vector of a tile; `whole` is a compile-time constant.
template <typename Body>
inline void ForEachVec(int n, const Body& body) {
  int i = 0;
  for (; i + Vec::kLanes <= n; i += Vec::kLanes) body(i, Vec::kLanes, std::true_type());
  if (i < n) body(i, n - i, std::false_type());
}

template <typename Whole>
inline Vec LoadVec(const float* p, int lanes, float fill, Whole) {
  return Whole::value ? Vec::Load(p) : Vec::LoadPartial(p, lanes, fill);
}

template <typename Whole>
inline void StoreVec(Vec v, float* p, int lanes, Whole) {
  if (Whole::value) {
    v.Store(p);
  } else {
    v.StorePartial(p, lanes);
  }
}

struct Term {
  Vec loss;
  Vec slope;  // d loss / d u, >= 0
};

// What both classes' terms at u and -u have in common.
struct Logistic {
  Vec::Mask positive;  // u > 0
  Vec log1p_e;         // log(1 + exp(-|u|))
  Vec large;           // sigmoid(|u|)
  Vec small;           // sigmoid(-|u|)
};

inline Logistic LogisticOf(Vec u) {
  const Vec e = ExpMinus(Abs(u));
  const Vec one = Vec::Set(1.0f);
  const Vec large = one / (one + e);
  return {u > Vec::Set(0.0f), Log1p(e), large, e * large};
}

// The term whose probability of being wrong is q = 1 - p_t = sigmoid(u), with p = sigmoid(-u),
// `part` = max(u, 0) and `other` = max(-u, 0): q^gamma * softplus(u). Not p = 1 - q: that cancels
// where q is near 1, and a large gamma makes p the greater part of the slope there.
template <Modulator kModulator>
inline Term BinaryTerm(Vec q, Vec p, Vec part, Vec other, Vec log1p_e, Vec gamma) {
  const Vec crossentropy = part + log1p_e;
  if (kModulator == Modulator::kNone) return {crossentropy, q};
  Vec modulator = q;
  Vec inner = MulAdd(p, crossentropy, q);
  if (kModulator == Modulator::kSquare) {
    modulator = q * q;
    inner = MulAdd(p + p, crossentropy, q);
  }
  if (kModulator == Modulator::kPower) {
    modulator = ExpMinus(gamma * (other + log1p_e));
    inner = MulAdd(gamma * p, crossentropy, q);
  }
  return {modulator * crossentropy, modulator * inner};
}

template <Modulator kModulator>
inline Term WrongTerm(Vec u, Vec gamma) {
  const Logistic f = LogisticOf(u);
  const Vec zero = Vec::Set(0.0f);
  const Vec q = Select(f.positive, f.large, f.small);
  const Vec p = Select(f.positive, f.small, f.large);
  return BinaryTerm<kModulator>(q, p, Max(u, zero), Max(zero - u, zero), f.log1p_e, gamma);
}

// The mix of both classes' terms at the logit u for a label `yes` in [0, 1]; its slope has a sign.
template <Modulator kModulator>
inline Term MixedTerm(Vec u, Vec yes, Vec gamma) {
  const Vec zero = Vec::Set(0.0f);
  const Vec no = Vec::Set(1.0f) - yes;
  const Logistic f = LogisticOf(u);
  const Vec above = Max(u, zero), below = Max(zero - u, zero);
  // A term that a label of exactly 0 or 1 leaves out would be 0 * infinity at infinite logits.
  const Vec if_present = Select(Abs(yes) > zero, below, zero);
  const Vec if_absent = Select(Abs(no) > zero, above, zero);
  const Vec q = Select(f.positive, f.large, f.small);
  const Vec p = Select(f.positive, f.small, f.large);
  const Term negative = BinaryTerm<kModulator>(q, p, if_absent, below, f.log1p_e, gamma);
  const Term positive = BinaryTerm<kModulator>(p, q, if_present, above, f.log1p_e, gamma);
  return {MulAdd(yes, positive.loss, no * negative.loss),
          NegMulAdd(yes, positive.slope, no * negative.slope)};
}

// Sum over a tile with one positive class at `label`; the gradient, times `factor`, in `out`.
template <Modulator kModulator, bool kHasLabel, bool kGradient>
inline float SparseTile(const float* z, int n, int label, float gamma, float factor, float* out) {
  Vec sum = Vec::Set(0.0f);
  const Vec gammas = Vec::Set(gamma), factors = Vec::Set(factor);
  ForEachVec(n, [&](int i, int lanes, auto whole) {
    Vec u = LoadVec(z + i, lanes, kNoLogit, whole);
    Vec::Mask positive{};
    if (kHasLabel) {
      const int lane = label - i;
      positive = lane >= 0 && lane < Vec::kLanes ? Vec::Only(lane) : Vec::None();
      u = NegateWhere(positive, u);
    }
    const Term term = WrongTerm<kModulator>(u, gammas);
    sum = sum + term.loss;
    if (kGradient) {
      Vec slope = factors * term.slope;
      if (kHasLabel) slope = NegateWhere(positive, slope);
      StoreVec(slope, out + i, lanes, whole);
    }
  });
  return Sum(sum);
}

// The same with a label y in [0, 1] for every class.
template <Modulator kModulator, bool kGradient>
inline float DenseTile(const float* z, const float* y, int n, float gamma, float factor,
                       float* out) {
  Vec sum = Vec::Set(0.0f);
  const Vec gammas = Vec::Set(gamma), factors = Vec::Set(factor);
  ForEachVec(n, [&](int i, int lanes, auto whole) {
    const Vec u = LoadVec(z + i, lanes, kNoLogit, whole);
    const Term term = MixedTerm<kModulator>(u, LoadVec(y + i, lanes, 0.0f, whole), gammas);
    sum = sum + term.loss;
    if (kGradient) StoreVec(factors * term.slope, out + i, lanes, whole);
  });
  return Sum(sum);
}

inline float LargestOfTile(const float* z, int n) {
  const float infinity = std::numeric_limits<float>::infinity();
  Vec largest = Vec::Set(-infinity);
  ForEachVec(n, [&](int i, int lanes, auto whole) {
    largest = Max(LoadVec(z + i, lanes, -infinity, whole), largest);
  });
  return Largest(largest);
}

// Sum of exp(z - maximum) without the label's; all of them in `out`, the label's too.
template <bool kHasLabel, bool kKeep>
inline float ExponentialsOfTile(const float* z, int n, int label, float maximum, float* out) {
  const float infinity = std::numeric_limits<float>::infinity();
  Vec sum = Vec::Set(0.0f);
  const Vec maxima = Vec::Set(maximum), zero = Vec::Set(0.0f);
  ForEachVec(n, [&](int i, int lanes, auto whole) {
    const Vec e = ExpMinus(maxima - LoadVec(z + i, lanes, -infinity, whole));
    if (kKeep) StoreVec(e, out + i, lanes, whole);
    const int lane = label - i;
    if (kHasLabel && lane >= 0 && lane < Vec::kLanes) {
      sum = sum + Select(Vec::Only(lane), zero, e);
    } else {
      sum = sum + e;
    }
  });
  return Sum(sum);
}

inline void ScaleTile(const float* from, int n, float factor, float* to) {
  const Vec factors = Vec::Set(factor);
  ForEachVec(n, [&](int i, int lanes, auto whole) {
    StoreVec(factors * LoadVec(from + i, lanes, 0.0f, whole), to + i, lanes, whole);
  });
}

// Multi-hot labels, NaN for those that are not in range.
inline Vec ValidLabels(Vec y) {
  const Vec nan = Vec::Set(std::numeric_limits<float>::quiet_NaN());
  return Select(y > Vec::Set(kCbkLargestLabel), nan, Select(Vec::Set(0.0f) > y, nan, y));
}

// Adds the sum of y and of y * w to the totals; the first is NaN where a label is not in range.
inline void SumsOfTile(const float* y, const float* w, int n, double* total, double* weighted) {
  // In short pieces: many equal labels next to a large one, as smoothing makes them, would all be
  // rounded in the same direction.
  constexpr int kPiece = 256;
  for (int start = 0; start < n; start += kPiece) {
    Vec y_sum = Vec::Set(0.0f), w_sum = Vec::Set(0.0f);
    ForEachVec(n - start < kPiece ? n - start : kPiece, [&](int i, int lanes, auto whole) {
      const Vec labels = LoadVec(y + start + i, lanes, 0.0f, whole);
      y_sum = y_sum + ValidLabels(labels);
      w_sum = MulAdd(labels, LoadVec(w + start + i, lanes, 0.0f, whole), w_sum);
    });
    *total += Sum(y_sum);
    *weighted += Sum(w_sum);
  }
}

}  // namespace CBK_ISA
}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CPU_TERMS_H_
