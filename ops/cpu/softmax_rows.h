// Softmax losses of rows of many classes.

#ifndef CB_KERAS_OPS_CPU_SOFTMAX_ROWS_H_
#define CB_KERAS_OPS_CPU_SOFTMAX_ROWS_H_

#include <math.h>
#include <stdint.h>

#include <limits>
#include <vector>

#include "factors.h"
#include "row.h"
#include "softmax_terms.h"
#include "terms.h"

namespace cb_keras {
namespace CBK_ISA {

// q^gamma * crossentropy of the softmax focal loss and its derivative by the cross-entropy.
struct FocalScalars {
  double loss, slope;
};

inline FocalScalars FocalOfSoftmax(double own, double others, double crossentropy, double gamma) {
  const double q = others / (own + others), p = own / (own + others);
  const double power = gamma == 1.0 ? q : gamma == 2.0 ? q * q : pow(q, gamma);
  const double ratio = q > 0.0 ? crossentropy / q : 1.0;  // both vanish together
  return {power * crossentropy, power * (1.0 + gamma * p * ratio)};
}

// `exponentials` has room for the row.
template <typename Type, bool kFocal, bool kGradient>
float SoftmaxRow(const Row<Type>& row, int64_t label, float factor, float* exponentials) {
  float maximum = -std::numeric_limits<float>::infinity();
  for (int64_t start = 0; start < row.classes; start += kTile) {
    const int n = TileSize(row.classes, start);
    const float largest = LargestOfTile(row.Load(start, n), n);
    maximum = largest > maximum ? largest : maximum;
  }
  // The label is left out of the sum: 1 - p_y would cancel where p_y is near 1.
  const double smoothing = static_cast<double>(LabelSmoothingOf(row.problem));
  double others = 0.0, distances = 0.0;
  for (int64_t start = 0; start < row.classes; start += kTile) {
    const int n = TileSize(row.classes, start);
    const float* z = row.Load(start, n);
    if (row.stream) row.PrefetchNext(start, n);
    if (smoothing > 0.0) distances += DistancesOfTile(z, n, maximum);
    float* e = kGradient ? exponentials + start : nullptr;
    const int64_t here = label - start;
    others += here >= 0 && here < n ? ExponentialsOfTile<true, kGradient>(
                                          z, n, static_cast<int>(here), maximum, e)
                                    : ExponentialsOfTile<false, kGradient>(z, n, -1, maximum, e);
  }
  const double distance = static_cast<double>(maximum) - row.Logit(label);
  const double e_label = exp(-distance);
  const double total = others + e_label;
  double loss = e_label > 0.5 ? log1p(others / e_label) : distance + log(total);
  if (kFocal) {
    const FocalScalars focal = FocalOfSoftmax(e_label, others, loss, row.problem.gamma);
    loss = focal.loss;
    factor = static_cast<float>(factor * focal.slope);
  }
  const double share = smoothing / static_cast<double>(row.classes);
  if (smoothing > 0.0) {
    loss = (1.0 - smoothing) * loss + smoothing * log(total) + share * distances;
  }
  if (kGradient) {
    const float scale = static_cast<float>(factor / total);
    for (int64_t start = 0; start < row.classes; start += kTile) {
      const int n = TileSize(row.classes, start);
      float* out = row.Target(start);
      ScaleTile(exponentials + start, n, scale, out);
      if (smoothing > 0.0) ShiftTile(out, n, static_cast<float>(factor * share));
      if (label >= start && label < start + n) {
        out[label - start] = static_cast<float>(-factor * (others / total - (smoothing - share)));
      }
      row.Store(start, n);
    }
  }
  return static_cast<float>(loss);
}

// Buffers of a thread for a row with multi-hot labels.
struct MixedBuffers {
  std::vector<float> exponentials, targets;
};

// The loss, or 0 for a row whose targets are all 0.
template <typename Type, Modulator kModulator, bool kGradient>
float MixedSoftmaxRow(const Row<Type>& row, const float* labels, float upstream,
                      MixedBuffers* buffers) {
  float* const e = buffers->exponentials.data();
  float* const targets = buffers->targets.data();
  MixedRow mixed = {-std::numeric_limits<float>::infinity(), 0.0f, 0.0f, false, row.problem.gamma};
  double target_sum = 0.0, target_size = 0.0;
  for (int64_t start = 0; start < row.classes; start += kTile) {
    const int n = TileSize(row.classes, start);
    TargetsOfTile(labels + start, row.problem.class_weights + start, n, targets + start,
                  &target_sum, &target_size);
    const float largest = LargestOfTile(row.Load(start, n), n);
    mixed.maximum = largest > mixed.maximum ? largest : mixed.maximum;
  }
  if (target_size == 0.0) {
    if (kGradient) row.FillGradient(0.0f);
    return 0.0f;
  }
  double below = 0.0, largest = 0.0;
  for (int64_t start = 0; start < row.classes; start += kTile) {
    const int n = TileSize(row.classes, start);
    ExponentialsBelow(row.Load(start, n), n, mixed.maximum, e + start, &below, &largest);
  }
  const double rest = below + (largest - 1.0);
  mixed.rest = static_cast<float>(rest);
  mixed.log_total = static_cast<float>(log1p(rest));
  mixed.one_largest = largest == 1.0;
  const float smoothing = LabelSmoothingOf(row.problem);
  const double share = smoothing / static_cast<double>(row.classes);
  const float spread = static_cast<float>(share * target_sum);
  MixedSums sums;
  for (int64_t start = 0; start < row.classes; start += kTile) {
    const int n = TileSize(row.classes, start);
    if (smoothing > 0.0f) SmoothTile(targets + start, n, 1.0f - smoothing, spread);
    MixedTile<kModulator>(mixed, row.Load(start, n), e + start, n, targets + start, &sums);
  }
  if (kGradient) {
    for (int64_t start = 0; start < row.classes; start += kTile) {
      const int n = TileSize(row.classes, start);
      MixedGradientOfTile(mixed, sums, row.Load(start, n), e + start, targets + start, n, upstream,
                          row.Target(start));
      row.Store(start, n);
    }
  }
  return static_cast<float>(sums.loss);
}

}  // namespace CBK_ISA
}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CPU_SOFTMAX_ROWS_H_
