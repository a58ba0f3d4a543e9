// A row of many classes, as the thread that works on it sees it.

#ifndef CB_KERAS_OPS_CPU_ROW_H_
#define CB_KERAS_OPS_CPU_ROW_H_

#include <stdint.h>

#include <limits>

#include "../class_balanced_loss.h"
#include "adjustment.h"
#include "storage.h"

namespace cb_keras {
namespace CBK_ISA {

constexpr int kTile = 1024;  // elements; the tiles of a thread stay in the first cache
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// One row's place in the arrays and the buffers of the thread that works on it.
template <typename Type>
struct Row {
  using Storage = typename Type::Storage;
  const CbkProblem& problem;
  const Storage* logits;
  Storage* gradient;
  int64_t classes;
  bool stream;
  float* input;   // tile, for types that need conversion
  float* output;  // tile
  bool adjusts;       // whether the loss takes other logits than these
  int64_t label = -1;  // the class that has a margin

  // Logits [start, start + n) as float32, as the loss takes them.
  const float* Load(int64_t start, int n) const {
    const float* z = input;
    if (sizeof(Storage) == sizeof(float)) {
      z = reinterpret_cast<const float*>(logits) + start;
    } else {
      LoadTile<Type>(logits + start, n, input);
    }
    if (!adjusts) return z;
    AdjustTile(problem, start, n, z, input);
    const bool has_margin = problem.margin != nullptr && label >= start && label < start + n;
    if (has_margin) input[label - start] -= problem.margin[label];
    return input;
  }

  float Logit(int64_t c) const {
    const float z = Type::Load(logits[c]);
    return adjusts ? AdjustedLogit(problem, c, z, c == label) : z;
  }

  // Asks for this tile of the next row, which is to come from memory while this one is worked on.
  // After the last row that is an address of nothing, which a processor lets pass.
  void PrefetchNext(int64_t start, int n) const {
    const char* const tile = reinterpret_cast<const char*>(logits + classes + start);
    const int bytes = n * static_cast<int>(sizeof(Storage));
    for (int i = 0; i < bytes; i += 64) __builtin_prefetch(tile + i, 0, 2);
  }

  // Where the gradient of the tile at `start` is to be computed.
  float* Target(int64_t start) const {
    if (sizeof(Storage) == sizeof(float) && !stream) {
      return reinterpret_cast<float*>(gradient) + start;
    }
    return output;
  }

  // Brings the tile to the gradient array.
  void Store(int64_t start, int n) const {
    if (adjusts) TimesFactors(problem, start, n, Target(start));
    if (sizeof(Storage) == sizeof(float)) {
      if (stream) StreamCopy(gradient + start, output, n * sizeof(float));
      return;
    }
    if (!stream) return StoreTile<Type>(output, n, gradient + start);
    Storage converted[kTile];
    StoreTile<Type>(output, n, converted);
    StreamCopy(gradient + start, converted, n * sizeof(Storage));
  }

  void FillGradient(float value) const {
    if (gradient == nullptr) return;
    for (int64_t c = 0; c < classes; ++c) gradient[c] = Type::Store(value);
  }
};

inline int TileSize(int64_t classes, int64_t start) {
  return static_cast<int>(classes - start < kTile ? classes - start : kTile);
}

}  // namespace CBK_ISA
}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CPU_ROW_H_
