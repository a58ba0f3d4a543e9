// The losses row by row. Compiled once per instruction set, with CBK_ISA its name.

#include "rows.h"

#include <math.h>

#include <limits>
#include <type_traits>
#include <vector>

#include "class_ids.h"
#include "factors.h"
#include "few_classes.h"
#include "row.h"
#include "softmax_rows.h"
#include "storage.h"
#include "terms.h"

#define CBK_STRING_(x) #x
#define CBK_STRING(x) CBK_STRING_(x)

namespace cb_keras {
namespace CBK_ISA {
namespace {

template <typename Type, Modulator kModulator, bool kGradient>
float SparseRow(const Row<Type>& row, int64_t label, float factor) {
  double sum = 0.0;
  const float gamma = row.problem.gamma;
  for (int64_t start = 0; start < row.classes; start += kTile) {
    const int n = TileSize(row.classes, start);
    const float* z = row.Load(start, n);
    float* out = kGradient ? row.Target(start) : nullptr;
    const int64_t here = label - start;
    if (here >= 0 && here < n) {
      sum += SparseTile<kModulator, true, kGradient>(z, n, static_cast<int>(here), gamma, factor,
                                                     out);
    } else {
      sum += SparseTile<kModulator, false, kGradient>(z, n, -1, gamma, factor, out);
    }
    if (kGradient) row.Store(start, n);
  }
  return static_cast<float>(sum);
}

template <typename Type, Modulator kModulator, bool kGradient>
float DenseRow(const Row<Type>& row, const float* labels, float factor) {
  double sum = 0.0;
  for (int64_t start = 0; start < row.classes; start += kTile) {
    const int n = TileSize(row.classes, start);
    sum += DenseTile<kModulator, kGradient>(row.Load(start, n), labels + start, n,
                                            row.problem.gamma, factor,
                                            kGradient ? row.Target(start) : nullptr);
    if (kGradient) row.Store(start, n);
  }
  return static_cast<float>(sum);
}

float AverageWeight(const CbkProblem& problem, const float* labels, float mean_weight) {
  double positives = 0.0, weighted = 0.0;
  for (int64_t start = 0; start < problem.classes; start += kTile) {
    SumsOfTile(labels + start, problem.class_weights + start, TileSize(problem.classes, start),
               &positives, &weighted);
  }
  // NaN labels are not <= 0 and give NaN.
  return positives <= 0.0 ? mean_weight : static_cast<float>(weighted / positives);
}

template <typename Type, Modulator kModulator, bool kSoftmax, bool kGradient>
float SparseLoss(const Row<Type>& row, int64_t label, float factor, float* exponentials) {
  constexpr bool kFocal = kModulator != Modulator::kNone;
  return kSoftmax ? SoftmaxRow<Type, kFocal, kGradient>(row, label, factor, exponentials)
                  : SparseRow<Type, kModulator, kGradient>(row, label, factor);
}

// Returns the first row whose class id is invalid, or -1.
template <typename Type, Modulator kModulator, bool kSoftmax, bool kGradient>
int64_t SparseRows(const CbkProblem& problem, int64_t begin, int64_t end, Row<Type> row) {
  std::vector<float> exponentials(kSoftmax && kGradient ? problem.classes : 0);
  float* const e = exponentials.data();
  int64_t first_invalid = -1;
  for (int64_t i = begin; i < end; ++i, row.logits += row.classes) {
    int64_t label;
    ReadClassIds(problem, i, 1, &label);
    if (label == kIgnoredClass) {
      problem.losses[i] = 0.0f;
      row.FillGradient(0.0f);
    } else if (label == kNoClass) {
      if (first_invalid < 0) first_invalid = i;
      problem.losses[i] = kNaN;
      row.FillGradient(kNaN);
    } else {
      const float weight = problem.class_weights[label];
      const float factor = kGradient ? FactorOf(weight, UpstreamOf(problem, i)) : 0.0f;
      if (factor == 0.0f) row.FillGradient(0.0f);
      row.label = label;
      if (weight == 0.0f) {
        problem.losses[i] = 0.0f;
      } else if (kGradient && factor != 0.0f) {
        problem.losses[i] =
            weight * SparseLoss<Type, kModulator, kSoftmax, kGradient>(row, label, factor, e);
      } else {
        problem.losses[i] =
            weight * SparseLoss<Type, kModulator, kSoftmax, false>(row, label, factor, e);
      }
    }
    if (kGradient) row.gradient += row.classes;
  }
  return first_invalid;
}

template <typename Type, Modulator kModulator, bool kGradient>
void DenseRows(const CbkProblem& problem, int64_t begin, int64_t end, Row<Type> row) {
  const float* labels = static_cast<const float*>(problem.labels) + begin * problem.classes;
  const float mean_weight = MeanWeight(problem);
  for (int64_t i = begin; i < end; ++i, row.logits += row.classes, labels += row.classes) {
    const float weight = AverageWeight(problem, labels, mean_weight);
    const float factor = kGradient ? FactorOf(weight, UpstreamOf(problem, i)) : 0.0f;
    if (factor == 0.0f) row.FillGradient(0.0f);
    if (weight == 0.0f) {
      problem.losses[i] = 0.0f;
    } else if (kGradient && factor != 0.0f) {
      problem.losses[i] = weight * DenseRow<Type, kModulator, kGradient>(row, labels, factor);
    } else {
      problem.losses[i] = weight * DenseRow<Type, kModulator, false>(row, labels, factor);
    }
    if (kGradient) row.gradient += row.classes;
  }
}

template <typename Type, Modulator kModulator, bool kGradient>
void MixedSoftmaxRows(const CbkProblem& problem, int64_t begin, int64_t end, Row<Type> row) {
  const float* labels = static_cast<const float*>(problem.labels) + begin * problem.classes;
  const size_t classes = static_cast<size_t>(problem.classes);
  MixedBuffers buffers = {std::vector<float>(classes), std::vector<float>(classes)};
  for (int64_t i = begin; i < end; ++i, row.logits += row.classes, labels += row.classes) {
    const float upstream = kGradient ? UpstreamOf(problem, i) : 0.0f;
    if (kGradient && upstream != 0.0f) {
      problem.losses[i] =
          MixedSoftmaxRow<Type, kModulator, kGradient>(row, labels, upstream, &buffers);
    } else {
      row.FillGradient(0.0f);
      problem.losses[i] = MixedSoftmaxRow<Type, kModulator, false>(row, labels, 0.0f, &buffers);
    }
    if (kGradient) row.gradient += row.classes;
  }
}

template <typename Type, Modulator kModulator, bool kSoftmax, bool kGradient>
int64_t ByLabels(const CbkProblem& problem, int64_t begin, int64_t end, const Row<Type>& row) {
  if (problem.labels_type != kCbkMultiHot) {
    return SparseRows<Type, kModulator, kSoftmax, kGradient>(problem, begin, end, row);
  }
  if (kSoftmax) {
    MixedSoftmaxRows<Type, kModulator, kGradient>(problem, begin, end, row);
  } else {
    DenseRows<Type, kModulator, kGradient>(problem, begin, end, row);
  }
  return -1;
}

template <typename Type, bool kSoftmax, bool kGradient>
int64_t ByModulator(const CbkProblem& problem, int64_t begin, int64_t end, const Row<Type>& row) {
  switch (ModulatorOf(problem)) {
    case Modulator::kNone:
      return ByLabels<Type, Modulator::kNone, kSoftmax, kGradient>(problem, begin, end, row);
    case Modulator::kLinear:
      return ByLabels<Type, Modulator::kLinear, kSoftmax, kGradient>(problem, begin, end, row);
    case Modulator::kSquare:
      return ByLabels<Type, Modulator::kSquare, kSoftmax, kGradient>(problem, begin, end, row);
    case Modulator::kPower:
      break;
  }
  return ByLabels<Type, Modulator::kPower, kSoftmax, kGradient>(problem, begin, end, row);
}

template <typename Type, bool kGradient>
int64_t ByLoss(const CbkProblem& problem, int64_t begin, int64_t end, const Row<Type>& row) {
  return CbkOfSoftmax(problem.loss)
             ? ByModulator<Type, true, kGradient>(problem, begin, end, row)
             : ByModulator<Type, false, kGradient>(problem, begin, end, row);
}

template <typename Type>
int64_t LossOfType(const CbkProblem& problem, int64_t begin, int64_t end, bool stream) {
  if (problem.classes <= kFewClasses) return LossOfFewClasses<Type>(problem, begin, end, stream);
  using Storage = typename Type::Storage;
  alignas(64) float input[kTile];
  alignas(64) float output[kTile];
  Storage* gradient = static_cast<Storage*>(problem.gradient);
  Row<Type> row = {problem,
                   static_cast<const Storage*>(problem.logits) + begin * problem.classes,
                   gradient == nullptr ? nullptr : gradient + begin * problem.classes,
                   problem.classes,
                   stream,
                   input,
                   output,
                   AdjustsLogits(problem)};
  if (gradient == nullptr) return ByLoss<Type, false>(problem, begin, end, row);
  const int64_t first_invalid = ByLoss<Type, true>(problem, begin, end, row);
  if (stream) FinishStreaming();
  return first_invalid;
}

int64_t LossRows(const CbkProblem& problem, int64_t begin, int64_t end, bool stream) {
  switch (problem.float_type) {
    case kCbkFloat32:
      return LossOfType<Float32>(problem, begin, end, stream);
    case kCbkBfloat16:
      return LossOfType<Bfloat16>(problem, begin, end, stream);
    case kCbkFloat16:
      break;
  }
  return LossOfType<Float16>(problem, begin, end, stream);
}

template <typename Type>
void ScaleOfType(const CbkScaling& scaling, int64_t begin, int64_t end) {
  using Storage = typename Type::Storage;
  for (int64_t row = begin; row < end; ++row) {
    const float upstream = scaling.upstream[row];
    const float applied = scaling.applied[scaling.applied_is_scalar ? 0 : row];
    if (upstream == applied) continue;
    Storage* values = static_cast<Storage*>(scaling.values) + row * scaling.classes;
    if (upstream == 0.0f) {  // whatever the values are
      for (int64_t c = 0; c < scaling.classes; ++c) values[c] = Type::Store(0.0f);
      continue;
    }
    const float factor = applied == 0.0f ? kNaN : upstream / applied;
#pragma omp simd
    for (int64_t c = 0; c < scaling.classes; ++c) {
      values[c] = Type::Store(factor * Type::Load(values[c]));
    }
  }
}

void ScaleRows(const CbkScaling& scaling, int64_t begin, int64_t end) {
  switch (scaling.float_type) {
    case kCbkFloat32:
      return ScaleOfType<Float32>(scaling, begin, end);
    case kCbkBfloat16:
      return ScaleOfType<Bfloat16>(scaling, begin, end);
    case kCbkFloat16:
      return ScaleOfType<Float16>(scaling, begin, end);
  }
}

}  // namespace

extern const RowKernels kRowKernels;  // const alone would hide it from dispatch.cc
const RowKernels kRowKernels = {CBK_STRING(CBK_ISA), LossRows, ScaleRows};

}  // namespace CBK_ISA
}  // namespace cb_keras
