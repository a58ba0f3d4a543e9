// Rows of few classes, as many at a time as a vector has lanes.
//
// A row of ten classes does not fill a vector, and would need sums, a logarithm and loops of its
// own. Here a block of rows is transposed, so that each lane has a row to itself, and the block's
// results are transposed back. Values of different lanes are never combined: what a row gives does
// not depend on the rows next to it or on where a block begins.

#ifndef CB_KERAS_OPS_CPU_FEW_CLASSES_H_
#define CB_KERAS_OPS_CPU_FEW_CLASSES_H_

#include <limits>

#include "adjustment.h"
#include "class_ids.h"
#include "factors.h"
#include "softmax_terms.h"
#include "storage.h"
#include "terms.h"

namespace cb_keras {
namespace CBK_ISA {

constexpr int kFewClasses = 16;
constexpr int kBlockRows = 64;  // a block stays in the first cache
static_assert(kBlockRows % Vec::kLanes == 0, "a block is made of whole vectors");

// A block of rows, turned: element [c][r] is class c of row r.
struct Block {
  float logits[kFewClasses][kBlockRows];   // then the gradient
  float targets[kFewClasses][kBlockRows];  // multi-hot labels
  float labels[kBlockRows];                // class ids, 0 where there is no class
  float weights[kBlockRows];               // with class ids; NaN where there is no class
  float upstreams[kBlockRows];
  float losses[kBlockRows];
  alignas(64) float lines[kFewClasses * kBlockRows];  // as in memory, for types to be converted
};

// What the work on a block needs to know of its problem.
struct BlockArgs {
  int classes;
  float gamma;
  float label_smoothing;
  const float* class_weights;
  float mean_weight;
};

// The lanes that hold no row, up to a whole vector, become 0.
inline void TurnIn(const float* lines, int rows, int classes, float (*columns)[kBlockRows]) {
  const int whole = (rows + Vec::kLanes - 1) / Vec::kLanes * Vec::kLanes;
  for (int c = 0; c < classes; ++c) {
    for (int r = 0; r < rows; ++r) columns[c][r] = lines[r * classes + c];
    for (int r = rows; r < whole; ++r) columns[c][r] = 0.0f;
  }
}

inline void TurnOut(const float (*columns)[kBlockRows], int rows, int classes, float* lines) {
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < classes; ++c) lines[r * classes + c] = columns[c][r];
  }
}

// log(total) for 1 <= total <= 17, given total - 1 with all its digits; relative error 4e-7.
inline Vec LogOfTotal(Vec total, Vec above_one) {
  constexpr float kLn2 = 0.69314718056f;
  const Vec two = Vec::Set(2.0f), four = Vec::Set(4.0f), eight = Vec::Set(8.0f);
  Vec scale = Vec::Set(0.5f), log_scale = Vec::Set(kLn2);
  scale = Select(total > four, Vec::Set(0.25f), scale);
  log_scale = Select(total > four, Vec::Set(2 * kLn2), log_scale);
  scale = Select(total > eight, Vec::Set(0.125f), scale);
  log_scale = Select(total > eight, Vec::Set(3 * kLn2), log_scale);
  const Vec above_two = log_scale + Log1p(total * scale - Vec::Set(1.0f));
  return Select(total > two, above_two, Log1p(above_one));
}

struct RowFactors {
  Vec weight;
  Vec factor;  // of the gradient

  // As FactorOf does for one row.
  RowFactors(Vec row_weight, Vec upstream) : weight(row_weight) {
    const Vec zero = Vec::Set(0.0f);
    factor = Select(upstream == zero, zero, Select(weight == zero, zero, weight * upstream));
  }
  Vec Loss(Vec loss) const {
    const Vec zero = Vec::Set(0.0f);
    return Select(weight == zero, zero, weight * loss);
  }
  Vec Gradient(Vec gradient) const {
    const Vec zero = Vec::Set(0.0f);
    return Select(factor == zero, zero, gradient);
  }
};

template <Modulator kModulator, bool kSmooth, bool kGradient>
void SoftmaxBlock(const BlockArgs& args, int rows, Block* block) {
  const float infinity = std::numeric_limits<float>::infinity();
  const Vec zero = Vec::Set(0.0f), one = Vec::Set(1.0f);
  for (int r = 0; r < rows; r += Vec::kLanes) {
    const Vec labels = Vec::Load(block->labels + r);
    Vec maximum = Vec::Set(-infinity);
    for (int c = 0; c < args.classes; ++c) maximum = Max(Vec::Load(block->logits[c] + r), maximum);
    // The label is left out of the sum: 1 - p_y would cancel where p_y is near 1.
    Vec others = zero, own = zero, distances = zero;
    for (int c = 0; c < args.classes; ++c) {
      const Vec z = Vec::Load(block->logits[c] + r);
      const Vec::Mask is_label = labels == Vec::Set(static_cast<float>(c));
      const Vec e = ExpMinus(maximum - z);
      own = Select(is_label, z, own);
      others = others + Select(is_label, zero, e);
      if (kSmooth) distances = distances + (maximum - z);
      if (kGradient) e.Store(block->logits[c] + r);
    }
    const Vec distance = maximum - own;
    const Vec::Mask label_is_largest = distance == zero;
    const Vec own_e = Select(label_is_largest, one, ExpMinus(distance));
    const Vec total = others + own_e;
    const Vec above_one = Select(label_is_largest, others, total - one);
    const RowFactors factors(Vec::Load(block->weights + r), Vec::Load(block->upstreams + r));
    const Vec log_total = LogOfTotal(total, above_one);
    const Term term = FocalOfSoftmax<kModulator>(own_e, others, distance + log_total,
                                                 Vec::Set(args.gamma));
    const float share = args.label_smoothing / static_cast<float>(args.classes);
    Vec loss = term.loss;
    if (kSmooth) {
      loss = MulAdd(Vec::Set(1.0f - args.label_smoothing), distance,
                    MulAdd(Vec::Set(share), distances, log_total));
    }
    factors.Loss(loss).Store(block->losses + r);
    if (!kGradient) continue;
    Vec factor = factors.factor;
    if (kModulator != Modulator::kNone) factor = factor * term.slope;
    const Vec scale = factor / total;
    Vec of_label = zero - factor * (others / total);
    if (kSmooth) of_label = MulAdd(factor, Vec::Set(args.label_smoothing - share), of_label);
    for (int c = 0; c < args.classes; ++c) {
      const Vec::Mask is_label = labels == Vec::Set(static_cast<float>(c));
      Vec slope = scale * Vec::Load(block->logits[c] + r);
      if (kSmooth) slope = NegMulAdd(Vec::Set(share), factor, slope);
      factors.Gradient(Select(is_label, of_label, slope)).Store(block->logits[c] + r);
    }
  }
}

// Softmax losses with multi-hot labels, which mix the classes' losses. The targets become slopes; the
// lines hold the exponentials.
template <Modulator kModulator, bool kGradient>
void MixedSoftmaxBlock(const BlockArgs& args, int rows, Block* block) {
  const Vec zero = Vec::Set(0.0f), one = Vec::Set(1.0f), gammas = Vec::Set(args.gamma);
  for (int r = 0; r < rows; r += Vec::kLanes) {
    Vec maximum = Vec::Set(-std::numeric_limits<float>::infinity());
    Vec target_sum = zero, target_size = zero;
    for (int c = 0; c < args.classes; ++c) {
      maximum = Max(Vec::Load(block->logits[c] + r), maximum);
      const Vec target = Vec::Load(block->targets[c] + r) * Vec::Set(args.class_weights[c]);
      target.Store(block->targets[c] + r);
      target_sum = target_sum + target;
      target_size = target_size + Abs(target);
    }
    Vec rest = zero, largest = zero;
    for (int c = 0; c < args.classes; ++c) {
      const Vec z = Vec::Load(block->logits[c] + r);
      const Vec::Mask is_largest = z == maximum;
      const Vec e = ExpMinus(maximum - z);
      Select(is_largest, one, e).Store(block->lines + c * kBlockRows + r);
      rest = rest + Select(is_largest, zero, e);
      largest = largest + Select(is_largest, one, zero);
    }
    const Vec single = Select(largest == one, one, zero);
    rest = rest + (largest - one);
    const Vec total = one + rest, log_total = LogOfTotal(total, rest);
    const float share = args.label_smoothing / static_cast<float>(args.classes);
    const Vec spread = Vec::Set(share) * target_sum;
    Vec loss = zero, slopes = zero, slopes_of_rest = zero;
    for (int c = 0; c < args.classes; ++c) {
      const Vec z = Vec::Load(block->logits[c] + r);
      const Vec e = Vec::Load(block->lines + c * kBlockRows + r);
      Vec target = Vec::Load(block->targets[c] + r);
      if (args.label_smoothing > 0.0f) {
        target = MulAdd(Vec::Set(1.0f - args.label_smoothing), target, spread);
      }
      const Vec::Mask is_top = Select(z == maximum, single, zero) > zero;
      const Vec::Mask nothing = target == zero;
      const Term term = FocalOfSoftmax<kModulator>(e, Select(is_top, rest, total - e),
                                                   (maximum - z) + log_total, gammas);
      const Vec slope = Select(nothing, zero, target * term.slope);
      loss = loss + Select(nothing, zero, target * term.loss);
      slopes = slopes + slope;
      slopes_of_rest = slopes_of_rest + Select(is_top, zero, slope);
      slope.Store(block->targets[c] + r);
    }
    const RowFactors factors(Select(target_size == zero, zero, one),
                             Vec::Load(block->upstreams + r));
    factors.Loss(loss).Store(block->losses + r);
    if (!kGradient) continue;
    const Vec common = slopes / total, of_top = slopes_of_rest - slopes * (rest / total);
    for (int c = 0; c < args.classes; ++c) {
      const Vec z = Vec::Load(block->logits[c] + r);
      const Vec::Mask is_top = Select(z == maximum, single, zero) > zero;
      const Vec usual = common * Vec::Load(block->lines + c * kBlockRows + r) -
                        Vec::Load(block->targets[c] + r);
      factors.Gradient(factors.factor * Select(is_top, of_top, usual))
          .Store(block->logits[c] + r);
    }
  }
}

// Sigmoid and focal, one class present.
template <Modulator kModulator, bool kGradient>
void SparseBlock(const BlockArgs& args, int rows, Block* block) {
  const Vec gammas = Vec::Set(args.gamma);
  for (int r = 0; r < rows; r += Vec::kLanes) {
    const Vec labels = Vec::Load(block->labels + r);
    const RowFactors factors(Vec::Load(block->weights + r), Vec::Load(block->upstreams + r));
    Vec sum = Vec::Set(0.0f);
    for (int c = 0; c < args.classes; ++c) {
      const Vec::Mask is_label = labels == Vec::Set(static_cast<float>(c));
      const Vec u = NegateWhere(is_label, Vec::Load(block->logits[c] + r));
      const Term term = WrongTerm<kModulator>(u, gammas);
      sum = sum + term.loss;
      if (!kGradient) continue;
      const Vec slope = NegateWhere(is_label, factors.factor * term.slope);
      factors.Gradient(slope).Store(block->logits[c] + r);
    }
    factors.Loss(sum).Store(block->losses + r);
  }
}

// The weight of rows with multi-hot labels: the mean of the present classes', or of all.
inline Vec AverageWeights(const BlockArgs& args, const Block& block, int r) {
  const Vec zero = Vec::Set(0.0f), mean = Vec::Set(args.mean_weight);
  Vec positives = zero, weighted = zero;
  for (int c = 0; c < args.classes; ++c) {
    const Vec y = Vec::Load(block.targets[c] + r);
    positives = positives + ValidLabels(y);
    weighted = MulAdd(y, Vec::Set(args.class_weights[c]), weighted);
  }
  // NaN labels are neither and give NaN.
  const Vec average = Select(positives == zero, mean, weighted / positives);
  return Select(zero > positives, mean, average);
}

template <Modulator kModulator, bool kGradient>
void DenseBlock(const BlockArgs& args, int rows, Block* block) {
  const Vec gammas = Vec::Set(args.gamma);
  for (int r = 0; r < rows; r += Vec::kLanes) {
    const RowFactors factors(AverageWeights(args, *block, r), Vec::Load(block->upstreams + r));
    Vec sum = Vec::Set(0.0f);
    for (int c = 0; c < args.classes; ++c) {
      const Vec z = Vec::Load(block->logits[c] + r);
      const Term term = MixedTerm<kModulator>(z, Vec::Load(block->targets[c] + r), gammas);
      sum = sum + term.loss;
      if (!kGradient) continue;
      factors.Gradient(factors.factor * term.slope).Store(block->logits[c] + r);
    }
    factors.Loss(sum).Store(block->losses + r);
  }
}

// Work on a block's first `rows` rows: their losses, and their gradient in place of the logits.
using BlockWork = void (*)(const BlockArgs& args, int rows, Block* block);

template <Modulator kModulator>
BlockWork SoftmaxWork(bool multi_hot, bool smooth, bool gradient) {
  if (multi_hot) {
    return gradient ? MixedSoftmaxBlock<kModulator, true> : MixedSoftmaxBlock<kModulator, false>;
  }
  if (kModulator == Modulator::kNone && smooth) {
    return gradient ? SoftmaxBlock<Modulator::kNone, true, true>
                    : SoftmaxBlock<Modulator::kNone, true, false>;
  }
  return gradient ? SoftmaxBlock<kModulator, false, true> : SoftmaxBlock<kModulator, false, false>;
}

template <Modulator kModulator>
BlockWork TermsWork(bool multi_hot, bool gradient) {
  if (multi_hot) return gradient ? DenseBlock<kModulator, true> : DenseBlock<kModulator, false>;
  return gradient ? SparseBlock<kModulator, true> : SparseBlock<kModulator, false>;
}

inline BlockWork WorkOf(const CbkProblem& problem) {
  const bool multi_hot = problem.labels_type == kCbkMultiHot;
  const bool gradient = problem.gradient != nullptr;
  const bool softmax = CbkOfSoftmax(problem.loss), smooth = LabelSmoothingOf(problem) > 0.0f;
  const auto work = [&](auto modulator) {
    constexpr Modulator kModulator = decltype(modulator)::value;
    return softmax ? SoftmaxWork<kModulator>(multi_hot, smooth, gradient)
                   : TermsWork<kModulator>(multi_hot, gradient);
  };
  switch (ModulatorOf(problem)) {
    case Modulator::kNone:
      return work(std::integral_constant<Modulator, Modulator::kNone>());
    case Modulator::kLinear:
      return work(std::integral_constant<Modulator, Modulator::kLinear>());
    case Modulator::kSquare:
      return work(std::integral_constant<Modulator, Modulator::kSquare>());
    case Modulator::kPower:
      break;
  }
  return work(std::integral_constant<Modulator, Modulator::kPower>());
}

// Labels, weights and upstream factors of n rows. Returns the first row whose class id is invalid,
// counted from `first`, or -1.
inline int ReadLabels(const CbkProblem& problem, int64_t first, int n, Block* block) {
  for (int r = 0; r < n; ++r) block->upstreams[r] = UpstreamOf(problem, first + r);
  if (problem.labels_type == kCbkMultiHot) {
    const float* const targets = static_cast<const float*>(problem.labels);
    TurnIn(targets + first * problem.classes, n, static_cast<int>(problem.classes),
           block->targets);
    return -1;
  }
  int64_t ids[kBlockRows];
  ReadClassIds(problem, first, n, ids);
  int invalid = -1;
  for (int r = n - 1; r >= 0; --r) {
    const bool valid = ids[r] >= 0;
    block->labels[r] = valid ? static_cast<float>(ids[r]) : 0.0f;
    block->weights[r] =
        valid ? problem.class_weights[ids[r]] : std::numeric_limits<float>::quiet_NaN();
    if (ids[r] == kIgnoredClass) block->weights[r] = 0.0f;
    if (ids[r] != kNoClass) continue;
    block->upstreams[r] = 1.0f;  // one of 0 does not hide it
    invalid = r;
  }
  return invalid;
}

template <typename Type>
void ReadLogits(const typename Type::Storage* logits, int n, int classes, Block* block) {
  if (sizeof(*logits) == sizeof(float)) {
    return TurnIn(reinterpret_cast<const float*>(logits), n, classes, block->logits);
  }
  LoadTile<Type>(logits, n * classes, block->lines);
  TurnIn(block->lines, n, classes, block->logits);
}

template <typename Type>
void WriteGradient(Block* block, int n, int classes, bool stream,
                   typename Type::Storage* gradient) {
  const bool converted = sizeof(*gradient) != sizeof(float);
  if (!converted && !stream) {
    return TurnOut(block->logits, n, classes, reinterpret_cast<float*>(gradient));
  }
  TurnOut(block->logits, n, classes, block->lines);
  if (!converted) return StreamCopy(gradient, block->lines, n * classes * sizeof(float));
  if (!stream) return StoreTile<Type>(block->lines, n * classes, gradient);
  typename Type::Storage stored[kFewClasses * kBlockRows];
  StoreTile<Type>(block->lines, n * classes, stored);
  StreamCopy(gradient, stored, n * classes * sizeof(*gradient));
}

// As RowKernels::loss, for problems of at most kFewClasses classes.
template <typename Type>
int64_t LossOfFewClasses(const CbkProblem& problem, int64_t begin, int64_t end, bool stream) {
  using Storage = typename Type::Storage;
  const int classes = static_cast<int>(problem.classes);
  const BlockArgs args = {classes, problem.gamma, LabelSmoothingOf(problem),
                          problem.class_weights, MeanWeight(problem)};
  const BlockWork work = WorkOf(problem);
  const Storage* const logits = static_cast<const Storage*>(problem.logits);
  Storage* const gradient = static_cast<Storage*>(problem.gradient);
  const bool adjusts = AdjustsLogits(problem);
  int64_t first_invalid = -1;
  Block block;
  for (float* lanes : {block.labels, block.weights, block.upstreams}) {
    memset(lanes, 0, kBlockRows * sizeof(float));  // those past the end are computed with, too
  }
  for (int64_t first = begin; first < end; first += kBlockRows) {
    const int n = static_cast<int>(end - first < kBlockRows ? end - first : kBlockRows);
    const int invalid = ReadLabels(problem, first, n, &block);
    if (invalid >= 0 && first_invalid < 0) first_invalid = first + invalid;
    ReadLogits<Type>(logits + first * problem.classes, n, classes, &block);
    if (adjusts) AdjustColumns(problem, n, block.labels, block.logits);
    work(args, n, &block);
    memcpy(problem.losses + first, block.losses, n * sizeof(float));
    if (gradient == nullptr) continue;
    if (adjusts) TimesFactorsOfColumns(problem, n, block.logits);
    WriteGradient<Type>(&block, n, classes, stream, gradient + first * problem.classes);
  }
  if (gradient != nullptr && stream) FinishStreaming();
  return first_invalid;
}

}  // namespace CBK_ISA
}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CPU_FEW_CLASSES_H_
