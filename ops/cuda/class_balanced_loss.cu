// The CUDA side of ../class_balanced_loss.h: which kernel a problem gets, and in what shape.

#include "../class_balanced_loss.h"

#include <algorithm>

#include "launch.cuh"
#include "row_kernels.cuh"
#include "scale_kernel.cuh"
#include "tile_kernels.cuh"

namespace cb_keras {
namespace {

// Up to here a warp per row finds its row in shared memory; beyond, a block per row pays.
constexpr int kMaxTileClasses = 512;
// Enough bytes under way in each of a multiprocessor's dozen blocks, and shared memory for all.
constexpr int kTileFloats = 2560;
// Positions within a row are 32-bit integers.
constexpr int64_t kMaxClasses = int64_t{1} << 30;

size_t FloatBytes(int float_type) { return float_type == kCbkFloat32 ? 4 : 2; }

Modulation MakeModulation(const CbkProblem& problem) {
  const bool focal = problem.loss == kCbkFocal || problem.loss == kCbkSoftmaxFocal;
  const float gamma = focal ? problem.gamma : 0.0f;
  const Modulation::Kind kind = gamma == 0.0f   ? Modulation::kNone
                                : gamma == 1.0f ? Modulation::kIdentity
                                : gamma == 2.0f ? Modulation::kSquare
                                : gamma == 0.5f ? Modulation::kSquareRoot
                                                : Modulation::kPower;
  return {kind, gamma};
}

// The most lanes of a warp whose word is in one bank of shared memory, when groups of `lanes` lanes
// read `lanes` neighbouring words each, from rows that lie `stride` words apart.
int BankConflict(int lanes, int stride) {
  int words[32] = {};
  for (int lane = 0; lane < 32; ++lane) ++words[(lane / lanes * stride + lane % lanes) % 32];
  return *std::max_element(words, words + 32);
}

// How a tile's rows are shared among lanes and lie in shared memory, and what that promises.
struct TileShape {
  int lanes_log2, padding;
  double cycles;  // Of each multiprocessor.
};

// The number of lanes per row that promises the least time: steps along the row, each worth the
// arithmetic of one element and its shared memory accesses, and what a row costs once, all of it
// times how often the device is filled.
TileShape ChooseLanes(const Device& device, int64_t rows, int classes, int padding) {
  // Cycles of a multiprocessor per warp, by counting instructions.
  constexpr double kArithmetic = 6.0, kAccess = 3.0, kRow = 10.0, kReductionStep = 3.0;
  constexpr int kMaxSteps = 32, kResidentWarps = 32;
  const double resident = 32.0 * kResidentWarps * device.multiprocessors;
  TileShape best = {5, padding, 0.0};
  for (int log2 = 5; log2 >= 0; --log2) {
    const int lanes = 1 << log2;
    const int steps = (classes + lanes - 1) / lanes;
    if (steps > kMaxSteps) break;
    const double fills = std::max(1.0, static_cast<double>(rows) * lanes / resident);
    const double step = kArithmetic + kAccess * BankConflict(lanes, classes + padding);
    const double time = (steps * step + kRow + kReductionStep * log2) * fills;
    const double cycles = kResidentWarps * time;
    if (log2 == 5 || cycles < best.cycles) best = {log2, padding, cycles};
  }
  return best;
}

template <typename T>
bool BeginsWithVector(const T* array) {
  return reinterpret_cast<uintptr_t>(array) % (kTileVector * sizeof(T)) == 0;
}

// Rows of, say, 32 floats have their elements of one class in one bank, and either few lanes wait
// for each other or many have little to do. A vector of padding after each row mends that. It is
// worth its arithmetic only where memory would not be the limit anyway; and it needs rows of whole
// vectors, where all arrays begin with one.
template <typename T>
TileShape ChooseTile(const Device& device, const LossArgs& args) {
  constexpr double kBytesPerCycle = 12.0;  // Memory's, per multiprocessor; 10 of A100, 15 of H100.
  const CbkProblem& problem = args.problem;
  const TileShape dense = ChooseLanes(device, problem.rows, args.classes, 0);
  const double bytes = static_cast<double>(problem.rows) * args.classes * sizeof(T) *
                       (problem.gradient == nullptr ? 1.0 : 2.0);
  const bool multi_hot = problem.labels_type == kCbkMultiHot;
  const bool whole = args.classes % kTileVector == 0 &&
                     BeginsWithVector(static_cast<const T*>(problem.logits)) &&
                     BeginsWithVector(static_cast<const T*>(problem.gradient)) &&
                     (!multi_hot || BeginsWithVector(static_cast<const float*>(problem.labels)));
  if (!whole || dense.cycles <= bytes / (kBytesPerCycle * device.multiprocessors)) return dense;
  const TileShape padded = ChooseLanes(device, problem.rows, args.classes, kTileVector);
  return padded.cycles < dense.cycles ? padded : dense;
}

// As many rows as fill kTileFloats, unless that leaves multiprocessors idle.
int ChooseTileRows(const Device& device, int64_t rows, int stride, int lanes_log2) {
  const int groups = kTileThreads >> lanes_log2;
  const int64_t wanted_tiles = 8 * device.multiprocessors;
  int tile_rows = groups;
  while (tile_rows + groups <= kTileThreads && (tile_rows + groups) * stride <= kTileFloats &&
         rows / (tile_rows + groups) >= wanted_tiles) {
    tile_rows += groups;
  }
  return tile_rows;
}

template <typename T, Form kForm, bool kGradient>
cudaError_t LaunchTiles(const Device& device, LossArgs args, cudaStream_t stream) {
  const int64_t rows = args.problem.rows;
  const TileShape shape = ChooseTile<T>(device, args);
  args.lanes_log2 = shape.lanes_log2;
  args.row_padding = shape.padding;
  const uint64_t classes = static_cast<uint64_t>(args.classes);
  args.row_reciprocal = static_cast<unsigned>(
      shape.padding > 0 ? ((uint64_t{1} << 32) + classes - 1) / classes : 0);
  const int stride = args.classes + args.row_padding;
  args.tile_rows = ChooseTileRows(device, rows, stride, args.lanes_log2);
  // Room to shift the tile by less than a vector. A multiple of it, because tile_rows is one.
  args.tile_floats = args.tile_rows * stride + kTileVector;
  const int arrays = kForm == Form::kMultiHot || kForm == Form::kMixed ? 2 : 1;
  const size_t shared_bytes =
      sizeof(TileRows) + sizeof(float) * static_cast<size_t>(arrays * args.tile_floats);
  const int64_t tiles = (rows + args.tile_rows - 1) / args.tile_rows;
  if constexpr (kForm == Form::kSoftmax) {
    if (args.adjusts) {
      return Launch<&TileKernel<T, kForm, kGradient, true>>(device, tiles, kTileThreads,
                                                            shared_bytes, stream, args);
    }
  }
  return Launch<&TileKernel<T, kForm, kGradient>>(device, tiles, kTileThreads, shared_bytes,
                                                  stream, args);
}

// How many vectors of a row the block keeps in shared memory between the passes: all, where two
// blocks of a multiprocessor can, so that one reads while the other writes. Else as many as one block
// alone can, unless that is the smaller part: then reading the row twice hides better behind two.
int ChooseStagedVectors(const Device& device, int64_t vectors, int bytes_each) {
  const int64_t one = device.shared_bytes_per_block;
  const int64_t two = std::min<int64_t>(
      one, device.shared_bytes_per_multiprocessor / 2 - device.reserved_shared_bytes);
  const auto staged = [&](int64_t bytes) {
    const int64_t fit = (bytes - static_cast<int64_t>(sizeof(BlockScratch))) / bytes_each;
    return std::min(fit, vectors);
  };
  if (staged(two) == vectors) return static_cast<int>(vectors);
  return 2 * staged(one) >= vectors ? static_cast<int>(staged(one)) : 0;
}

// About eight vectors per thread, and room for two blocks; more threads where there are too few rows
// to fill the device, or where the block is alone. A row stays with one block all the same: two would
// have to tell each other their sums, for which there is no memory but the caller's results, and
// only batches of a few dozen rows would gain, some microseconds.
int ChooseRowThreads(const Device& device, int64_t rows, int64_t vectors, bool alone) {
  const int usual = alone ? kMaxRowThreads : kMaxRowThreads / 2;
  int threads = 64;
  while (threads < usual && threads * 8 < vectors) threads *= 2;
  while (threads < kMaxRowThreads && threads < vectors &&
         rows * threads < int64_t{1536} * device.multiprocessors) {
    threads *= 2;
  }
  return threads;
}

template <typename T, Form kForm, bool kGradient, bool kAdjusted = false>
cudaError_t LaunchRows(const Device& device, LossArgs args, cudaStream_t stream) {
  constexpr int kStage = kStageBytes<T, kForm, kAdjusted>;
  const int64_t vectors = args.classes / kRowWidth<T, kForm, kAdjusted> + 1;
  size_t shared_bytes = sizeof(BlockScratch);
  if (kGradient && (kForm == Form::kSoftmax || kForm == Form::kMultiHot)) {
    args.staged_vectors = ChooseStagedVectors(device, vectors, kStage);
    shared_bytes += static_cast<size_t>(args.staged_vectors) * kStage;
  }
  const bool alone = 2 * (shared_bytes + static_cast<size_t>(device.reserved_shared_bytes)) >
                     static_cast<size_t>(device.shared_bytes_per_multiprocessor);
  const int threads = ChooseRowThreads(device, args.problem.rows, vectors, alone);
  return Launch<&RowKernel<T, kForm, kGradient, kAdjusted>>(device, args.problem.rows, threads,
                                                            shared_bytes, stream, args);
}

template <typename T, Form kForm, bool kGradient>
cudaError_t LaunchLoss(const Device& device, const LossArgs& args, cudaStream_t stream) {
  if (args.classes <= kMaxTileClasses) return LaunchTiles<T, kForm, kGradient>(device, args, stream);
  if constexpr (kForm == Form::kSoftmax) {
    if (args.adjusts) return LaunchRows<T, kForm, kGradient, true>(device, args, stream);
  }
  return LaunchRows<T, kForm, kGradient>(device, args, stream);
}

template <typename T, Form kForm>
cudaError_t ChooseGradient(const Device& device, const LossArgs& args, cudaStream_t stream) {
  return args.problem.gradient != nullptr ? LaunchLoss<T, kForm, true>(device, args, stream)
                                          : LaunchLoss<T, kForm, false>(device, args, stream);
}

template <typename T>
cudaError_t ChooseForm(const Device& device, const LossArgs& args, cudaStream_t stream) {
  if (CbkOfSoftmax(args.problem.loss)) {
    return args.problem.labels_type == kCbkMultiHot
               ? ChooseGradient<T, Form::kMixed>(device, args, stream)
               : ChooseGradient<T, Form::kSoftmax>(device, args, stream);
  }
  return args.problem.labels_type == kCbkMultiHot
             ? ChooseGradient<T, Form::kMultiHot>(device, args, stream)
             : ChooseGradient<T, Form::kClassIds>(device, args, stream);
}

bool Adjusts(const CbkProblem& problem) {
  return problem.factor != nullptr || problem.offset != nullptr || problem.margin != nullptr;
}

bool IsValid(const CbkProblem& problem) {
  const bool known = problem.loss >= kCbkSoftmax && problem.loss < kCbkLossCount &&
                     problem.float_type >= kCbkFloat32 && problem.float_type <= kCbkFloat16 &&
                     problem.labels_type >= kCbkInt32 && problem.labels_type <= kCbkDoubleIds;
  const bool fits = !problem.ignores || problem.labels_type != kCbkMultiHot;
  const bool adjustable = Adjusts(problem) ? CbkOfSoftmax(problem.loss) : true;
  const bool has_label = problem.margin == nullptr || problem.labels_type != kCbkMultiHot;
  return known && fits && adjustable && has_label && problem.rows >= 0 && problem.classes >= 1 &&
         problem.classes <= kMaxClasses;
}

cudaError_t RunLoss(const CbkProblem& problem, cudaStream_t stream) {
  if (!IsValid(problem)) return cudaErrorInvalidValue;
  if (problem.rows == 0) return cudaSuccess;
  const Device* device = nullptr;
  const cudaError_t error = CurrentDevice(&device);
  if (error != cudaSuccess) return error;
  LossArgs args = {};
  args.problem = problem;
  args.classes = static_cast<int>(problem.classes);
  args.modulation = MakeModulation(problem);
  args.adjusts = Adjusts(problem);
  args.label_smoothing = problem.loss == kCbkSoftmax ? problem.label_smoothing : 0.0f;
  const double bytes = static_cast<double>(problem.rows) * static_cast<double>(problem.classes) *
                       static_cast<double>(FloatBytes(problem.float_type));
  args.stream_gradient = bytes > 0.5 * device->cache_bytes;
  switch (problem.float_type) {
    case kCbkFloat32:
      return ChooseForm<float>(*device, args, stream);
    case kCbkBfloat16:
      return ChooseForm<__nv_bfloat16>(*device, args, stream);
    default:
      return ChooseForm<__half>(*device, args, stream);
  }
}

template <typename T>
cudaError_t LaunchScale(const Device& device, ScaleArgs args, cudaStream_t stream) {
  // About four vectors per thread.
  int lanes = 1;
  for (; lanes < kScaleThreads && lanes * kWidest<T> * 4 <= args.classes; lanes *= 2) {
    ++args.lanes_log2;
  }
  const int64_t rows_per_block = kScaleThreads / lanes;
  const int64_t blocks = (args.scaling.rows + rows_per_block - 1) / rows_per_block;
  return Launch<&ScaleKernel<T>>(device, blocks, kScaleThreads, 0, stream, args);
}

cudaError_t RunScale(const CbkScaling& scaling, cudaStream_t stream) {
  const bool valid = scaling.float_type >= kCbkFloat32 && scaling.float_type <= kCbkFloat16 &&
                     scaling.rows >= 0 && scaling.classes >= 1 && scaling.classes <= kMaxClasses;
  if (!valid) return cudaErrorInvalidValue;
  if (scaling.rows == 0) return cudaSuccess;
  const Device* device = nullptr;
  const cudaError_t error = CurrentDevice(&device);
  if (error != cudaSuccess) return error;
  const ScaleArgs args = {scaling, static_cast<int>(scaling.classes), 0};
  switch (scaling.float_type) {
    case kCbkFloat32:
      return LaunchScale<float>(*device, args, stream);
    case kCbkBfloat16:
      return LaunchScale<__nv_bfloat16>(*device, args, stream);
    default:
      return LaunchScale<__half>(*device, args, stream);
  }
}

}  // namespace
}  // namespace cb_keras

extern "C" int CbkCudaLoss(const struct CbkProblem* problem, void* stream) {
  return cb_keras::RunLoss(*problem, static_cast<cudaStream_t>(stream));
}

extern "C" int CbkCudaScale(const struct CbkScaling* scaling, void* stream) {
  return cb_keras::RunScale(*scaling, static_cast<cudaStream_t>(stream));
}

extern "C" const char* CbkCudaErrorString(int error) {
  return cudaGetErrorString(static_cast<cudaError_t>(error));
}
