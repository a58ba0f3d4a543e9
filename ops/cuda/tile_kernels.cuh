// Losses of few classes: a block takes a tile of consecutive rows through shared memory.
//
// Rows of a few dozen elements begin anywhere, but a tile of them is one dense stretch: it is read
// and written in vectors whatever the number of classes. In shared memory, as float32, a group of
// 1 to 32 lanes works on each row, element by element.

#ifndef CB_KERAS_OPS_CUDA_TILE_KERNELS_CUH_
#define CB_KERAS_OPS_CUDA_TILE_KERNELS_CUH_

#include <float.h>

#include "loss_rows.cuh"
#include "memory.cuh"
#include "reduce.cuh"

namespace cb_keras {

constexpr int kTileThreads = 128;

// Blocks per multiprocessor that the registers are to allow; more would spill multi-hot's.
template <Form kForm>
constexpr int kTileBlocks =
    (kForm == Form::kMultiHot || kForm == Form::kMixed ? 1024 : kResidentThreads) / kTileThreads;

// Four elements, although 16-bit types would allow eight: threads then write neighbouring 16-byte
// pieces of shared memory, without bank conflicts.
constexpr int kTileVector = 4;

// Shared memory: this, then `tile_floats` floats of logits, then as many of multi-hot labels.
// A tile has at most one row per thread: more, or larger tiles, were slower on an H100.
struct TileRows {
  int labels[kTileThreads];
  float weights[kTileThreads];
  float upstreams[kTileThreads];
  float sums[kTileThreads];       // Softmax: of the other classes' exponentials. Else the loss.
  float exponents[kTileThreads];  // Softmax: of the label's class.
  float exponent_sums[kTileThreads];  // Softmax with label smoothing: of all classes.
};

// Where element `index` of a tile lies in shared memory, from the first one on. Rows that are padded
// consist of whole vectors and begin with one (ChooseTile sees to that), so vectors stay together.
__device__ __forceinline__ int TileOffset(const LossArgs& args, int index) {
  const unsigned row = __umulhi(static_cast<unsigned>(index), args.row_reciprocal);
  return index + static_cast<int>(row) * args.row_padding;
}

// Reads `size` elements to shared memory and returns where the first one went: such that vectors
// lie at multiples of their size there, too.
template <typename T>
__device__ __forceinline__ float* LoadTile(const LossArgs& args, const T* source, int size,
                                           float* tile) {
  const Span<kTileVector> span = MakeSpan<kTileVector>(source, size, true);
  float* const first = tile + (-span.head & (kTileVector - 1));
  ForBlockShare<4>(
      span.vectors,
      [&](int i) { return LoadBits<T, kTileVector>(source + span.VectorStart(i)); },
      [&](int i, const Bits<T, kTileVector>& bits) {
        float values[kTileVector];
        Unpack<T>(bits, values);
        float* const target = first + TileOffset(args, span.VectorStart(i));
        StoreShared(reinterpret_cast<uint4*>(target), Pack<float>(values));
      });
#pragma unroll 1
  for (int i = threadIdx.x; i < span.LooseCount(); i += blockDim.x) {
    first[TileOffset(args, span.Loose(i))] = ToFloat(source[span.Loose(i)]);
  }
  return first;
}

template <typename T>
__device__ __forceinline__ void StoreTile(const LossArgs& args, const float* first, int size,
                                          T* target) {
  const int head = MakeSpan<kTileVector>(target, size, true).head;
  const bool same_cut = Misalignment<16>(first + head) == 0;
  const Span<kTileVector> span = MakeSpan<kTileVector>(target, size, same_cut);
  for (int i = threadIdx.x; i < span.vectors; i += blockDim.x) {
    float values[kTileVector];
    const float* const source = first + TileOffset(args, span.VectorStart(i));
    Unpack<float>(*reinterpret_cast<const uint4*>(source), values);
    StoreBits<T, kTileVector>(target + span.VectorStart(i), Pack<T>(values), args.stream_gradient);
  }
#pragma unroll 1
  for (int i = threadIdx.x; i < span.LooseCount(); i += blockDim.x) {
    FromFloat(first[TileOffset(args, span.Loose(i))], &target[span.Loose(i)]);
  }
}

// One lane of the group that works on one row, and the row: `size` elements at z (and y), which the
// gradient replaces. A group without a row has size 0 and label -1.
struct GroupRow {
  int lane;
  int lanes;
  int size;
  float* z;
  float* y;
  int label;
  float weight;
  float upstream;
  float factor;  // Of the gradient, with class ids.

  // Whether this lane works on the label's class. It treats that class before and after the others,
  // which saves the others a comparison each.
  __device__ __forceinline__ bool HasLabel() const {
    return label >= 0 && (label & (lanes - 1)) == lane;
  }
};

// The row's logits become what the softmax losses take in place of them.
__device__ __forceinline__ void AdjustGroup(const CbkProblem& problem, const GroupRow& row) {
  for (int c = row.lane; c < row.size; c += row.lanes) {
    row.z[c] = AdjustedLogit(problem, c, row.z[c]);
  }
  if (row.HasLabel()) row.z[row.label] -= MarginOf(problem, row.label);
  __syncwarp();  // All lanes are about to read the label's.
}

// From the gradient by what AdjustGroup made to that by the logits.
__device__ __forceinline__ void TimesFactorsOfGroup(const CbkProblem& problem,
                                                    const GroupRow& row) {
  for (int c = row.lane; c < row.size; c += row.lanes) {
    row.z[c] = TimesFactorOf(problem, c, row.z[c]);
  }
}

template <bool kGradient>
__device__ __forceinline__ void SoftmaxGroup(const LossArgs& args, const GroupRow& row, float* sum,
                                             float* exponent, float* exponent_sum) {
  const float own_z = row.label >= 0 ? row.z[row.label] : NAN;
  float max = -FLT_MAX;
#pragma unroll 4
  for (int c = row.lane; c < row.size; c += row.lanes) max = fmaxf(max, row.z[c]);
  const float shift = GroupMax(max, row.lanes) * kLog2E;
  const bool smooth = args.label_smoothing > 0.0f;
  float exponents = 0.0f;
  if (smooth) {
    for (int c = row.lane; c < row.size; c += row.lanes) {
      exponents += fmaf(row.z[c], kLog2E, -shift);
    }
    exponents = GroupSum(exponents, row.lanes);
  }
  __syncwarp();  // All lanes have read own_z, which one of them is about to overwrite.

  if (row.HasLabel()) row.z[row.label] = -INFINITY;
  float others = 0.0f;
#pragma unroll 4
  for (int c = row.lane; c < row.size; c += row.lanes) {
    const float e = Exp2Approx(fmaf(row.z[c], kLog2E, -shift));
    if (kGradient) row.z[c] = e;
    others += e;
  }
  others = GroupSum(others, row.lanes);
  const float own_exponent = fmaf(own_z, kLog2E, -shift);

  if (kGradient) {
    const SoftmaxSlopes slopes = SlopesOfSoftmax(args, row.factor, others, own_exponent);
#pragma unroll 4
    for (int c = row.lane; c < row.size; c += row.lanes) {
      row.z[c] = TimesFactor(slopes.scale, row.z[c]) - slopes.offset;
    }
    if (row.HasLabel()) row.z[row.label] = slopes.own_gradient;
  }
  if (row.lane > 0) return;
  *sum = others;
  *exponent = own_exponent;
  if (smooth) *exponent_sum = exponents;
}

// These return the row's loss to all lanes of the group.

template <bool kFocal, bool kGradient>
__device__ __forceinline__ float ClassIdsGroup(const GroupRow& row, const Modulation& modulation) {
  if (row.HasLabel()) row.z[row.label] = -row.z[row.label];
  float sum = 0.0f;
#pragma unroll 2
  for (int c = row.lane; c < row.size; c += row.lanes) {
    const float x[1] = {row.z[c]};
    float value[1], slope[1];
    Evaluate<kFocal>(modulation, x, value, slope);
    sum += value[0];
    if (kGradient) row.z[c] = TimesFactor(row.factor, slope[0]);
  }
  if (kGradient && row.HasLabel()) row.z[row.label] = -row.z[row.label];
  return TimesFactor(row.weight, GroupSum(sum, row.lanes));
}

template <bool kFocal, bool kGradient>
__device__ __forceinline__ float MultiHotGroup(const GroupRow& row, const Modulation& modulation,
                                               const float* class_weights) {
  float sum = 0.0f, label_sum = 0.0f, weighted_label_sum = 0.0f, weight_sum = 0.0f;
  for (int c = row.lane; c < row.size; c += row.lanes) {
    const float z[1] = {row.z[c]}, y[1] = {row.y[c]};
    float value[1], slope[1];
    EvaluateMixed<kFocal>(modulation, z, y, value, slope);
    const float class_weight = class_weights[c];
    sum += value[0];
    label_sum += ValidLabel(y[0]);
    weighted_label_sum += y[0] * class_weight;
    weight_sum += class_weight;
    if (kGradient) row.z[c] = slope[0];
  }
  const float weight = MultiHotWeight(
      GroupSum(label_sum, row.lanes), GroupSum(weighted_label_sum, row.lanes),
      GroupSum(weight_sum, row.lanes), row.size);
  if (kGradient) {
    const float factor = GradientFactor(weight, row.upstream, true);
    for (int c = row.lane; c < row.size; c += row.lanes) {
      row.z[c] = TimesFactor(factor, row.z[c]);
    }
  }
  return TimesFactor(weight, GroupSum(sum, row.lanes));
}

template <bool kGradient>
__device__ __forceinline__ float MixedGroup(const LossArgs& args, const GroupRow& row) {
  float max = -FLT_MAX, target_sum = 0.0f, target_size = 0.0f;
  for (int c = row.lane; c < row.size; c += row.lanes) {
    max = fmaxf(max, row.z[c]);
    const float target = row.y[c] * args.problem.class_weights[c];
    target_sum += target;
    target_size += fabsf(target);
    row.y[c] = target;
  }
  max = GroupMax(max, row.lanes);
  MixedRow mixed(args, max, GroupSum(target_sum, row.lanes));

  float below = 0.0f, count = 0.0f;
  for (int c = row.lane; c < row.size; c += row.lanes) {
    below += row.z[c] == max ? 0.0f : mixed.Exponential(row.z[c]);
    count += row.z[c] == max ? 1.0f : 0.0f;
  }
  below = GroupSum(below, row.lanes);
  mixed.SetTotal(below, GroupSum(count, row.lanes));

  float loss = 0.0f, slopes = 0.0f, slopes_of_rest = 0.0f;
  for (int c = row.lane; c < row.size; c += row.lanes) {
    const FocalTerm term = mixed.TermOf(args, row.z[c], row.y[c]);
    loss += term.value;
    slopes += term.slope;
    slopes_of_rest += mixed.IsTop(row.z[c]) ? 0.0f : term.slope;
    row.y[c] = term.slope;
  }
  const float weight = GroupSum(target_size, row.lanes) == 0.0f ? 0.0f : 1.0f;
  loss = GroupSum(loss, row.lanes);
  slopes = GroupSum(slopes, row.lanes);
  slopes_of_rest = GroupSum(slopes_of_rest, row.lanes);
  if (kGradient) {
    const float factor = GradientFactor(weight, row.upstream, true);
    for (int c = row.lane; c < row.size; c += row.lanes) {
      const float gradient = mixed.Gradient(row.z[c], row.y[c], slopes, slopes_of_rest);
      row.z[c] = TimesFactor(factor, gradient);
    }
  }
  return TimesFactor(weight, loss);
}

template <Form kForm, bool kGradient>
__device__ __forceinline__ float TermsGroup(const LossArgs& args, const GroupRow& row) {
  const Modulation& modulation = args.modulation;
  const bool focal = modulation.kind != Modulation::kNone;
  if constexpr (kForm == Form::kMixed) {
    return MixedGroup<kGradient>(args, row);
  } else if constexpr (kForm == Form::kClassIds) {
    return focal ? ClassIdsGroup<true, kGradient>(row, modulation)
                 : ClassIdsGroup<false, kGradient>(row, modulation);
  } else {
    const float* const class_weights = args.problem.class_weights;
    return focal ? MultiHotGroup<true, kGradient>(row, modulation, class_weights)
                 : MultiHotGroup<false, kGradient>(row, modulation, class_weights);
  }
}

// The rows of a tile, `count` of them, from and to shared memory.
template <Form kForm, bool kGradient, bool kAdjusted>
__device__ __forceinline__ void WorkOnTile(const LossArgs& args, int count, float* z, float* y,
                                           TileRows* rows) {
  const int lanes = 1 << args.lanes_log2;
  const int groups = kTileThreads >> args.lanes_log2;
  const int thread = static_cast<int>(threadIdx.x);
  // tile_rows is a multiple of `groups`: all lanes of a warp go round equally often.
  for (int r = thread >> args.lanes_log2; r < args.tile_rows; r += groups) {
    GroupRow row;
    row.lane = thread & (lanes - 1);
    row.lanes = lanes;
    row.size = r < count ? args.classes : 0;
    row.z = z + r * (args.classes + args.row_padding);
    row.y = y + r * (args.classes + args.row_padding);
    row.label = rows->labels[r];
    row.weight = rows->weights[r];
    row.upstream = rows->upstreams[r];
    row.factor = GradientFactor(row.weight, row.upstream, row.label >= 0);
    const bool adjusts = kForm == Form::kMixed ? args.adjusts : kAdjusted;
    if (adjusts) AdjustGroup(args.problem, row);
    if constexpr (kForm == Form::kSoftmax) {
      SoftmaxGroup<kGradient>(args, row, &rows->sums[r], &rows->exponents[r],
                              &rows->exponent_sums[r]);
    } else {
      const float loss = TermsGroup<kForm, kGradient>(args, row);
      if (row.lane == 0) rows->sums[r] = loss;
    }
    if (kGradient && adjusts) TimesFactorsOfGroup(args.problem, row);
  }
}

// The loss of row r of a tile. Logarithms are taken here, one row per thread, instead of by all
// lanes of a group at once.
template <Form kForm>
__device__ __forceinline__ float TileLoss(const LossArgs& args, const TileRows& rows, int r) {
  if constexpr (kForm != Form::kSoftmax) return rows.sums[r];
  const float loss =
      ClassIdSoftmaxLoss(args, rows.sums[r], rows.exponents[r], rows.exponent_sums[r]);
  return TimesFactor(rows.weights[r], loss);
}

template <typename T, Form kForm, bool kGradient, bool kAdjusted = false>
__global__ void __launch_bounds__(kTileThreads, kTileBlocks<kForm>)
    TileKernel(const LossArgs args) {
  CBK_SHARED_MEMORY(shared);
  auto* const rows = reinterpret_cast<TileRows*>(shared);
  auto* const tile = reinterpret_cast<float*>(shared + sizeof(TileRows));
  const int thread = static_cast<int>(threadIdx.x);
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * args.tile_rows;
       first < args.problem.rows; first += static_cast<int64_t>(gridDim.x) * args.tile_rows) {
    const int64_t left = args.problem.rows - first;
    const int count = left < args.tile_rows ? static_cast<int>(left) : args.tile_rows;
    const int64_t offset = first * args.classes;
    constexpr bool kIds = kForm == Form::kSoftmax || kForm == Form::kClassIds;
    int label = kNoClass;
    if (kIds && thread < count) label = ReadLabel(args, first + thread);
    const auto* const logits = static_cast<const T*>(args.problem.logits) + offset;
    float* const z = LoadTile(args, logits, count * args.classes, tile);
    float* y = z;
    if constexpr (!kIds) {
      const auto* const labels = static_cast<const float*>(args.problem.labels) + offset;
      y = LoadTile(args, labels, count * args.classes, tile + args.tile_floats);
    }
    rows->labels[thread] = label;
    rows->weights[thread] = ReadWeight(args, label);
    rows->upstreams[thread] = thread < count ? ReadUpstream(args, first + thread) : 0.0f;
    __syncthreads();

    WorkOnTile<kForm, kGradient, kAdjusted>(args, count, z, y, rows);
    __syncthreads();

    if constexpr (kGradient) {
      auto* const gradient = static_cast<T*>(args.problem.gradient) + offset;
      StoreTile(args, z, count * args.classes, gradient);
    }
    if (thread < count) args.problem.losses[first + thread] = TileLoss<kForm>(args, *rows, thread);
    __syncthreads();  // The next tile overwrites this one.
  }
}

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CUDA_TILE_KERNELS_CUH_
