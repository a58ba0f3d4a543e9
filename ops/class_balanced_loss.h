// The fused class-balanced losses: what the CPU and the CUDA kernels compute, and how both are
// called. No TensorFlow type appears here, so that either side can be built and checked alone.
//
// For every row (example) of logits z [rows, classes]:
//
//   softmax        loss = w * ((1 - s) CE_y + s / classes * sum_c CE_c)
//   sigmoid        loss = w * sum_c BCE(z_c, y_c)
//   focal          loss = w * sum_c (1 - p_t)^gamma * BCE(z_c, y_c)
//   softmax_focal  loss = w * (1 - softmax(z)_y)^gamma * CE_y
//
// with CE_c = -log softmax(z)_c, the label smoothing s, BCE(z, 1) = softplus(-z), BCE(z, 0) =
// softplus(z), and the mix y * BCE(z, 1) + (1 - y) * BCE(z, 0) for 0 < y < 1; likewise for the
// focal terms. With class ids, w is class_weights[y]; with multi-hot labels it is
// sum_c y_c w_c / sum_c y_c, or the mean of all class weights where sum_c y_c <= 0.
//
// Multi-hot labels of the softmax losses mix the weighted losses of the classes instead: the loss is
// sum_c y_c w_c loss_c, to which a class with y_c w_c = 0 adds 0 even if its loss is infinite.
//
// The softmax losses take factor_c z_c + offset_c - margin_c [c = y] in place of z_c, where a factor,
// an offset or a margin of each class is given; the gradient is by z all the same. There are margins
// with class ids only.
//
// Logits are read in their own type; all arithmetic is float32 at least; the gradient is rounded
// once, to the type of the logits.
//
// A class id that is not a whole number in [0, classes) makes the row's loss and gradient NaN,
// and nothing outside the arrays is read or written. A NaN logit makes its row's loss NaN, and its
// own gradient NaN (the whole row's, for softmax). Nothing in here assumes that numbers are finite.
//
// A row whose class id is the one to be ignored has the loss 0 and the gradient 0, whatever its
// logits and its upstream factor are, and whether or not the id is in [0, classes).
//
// A row of weight exactly 0 (of a softmax loss with multi-hot labels: all of whose y_c w_c are) has
// the loss 0 and the gradient 0, whatever its logits and its upstream factor are, infinite or NaN
// too; and a row whose upstream factor is exactly 0 has the gradient 0, unless its class id is
// invalid.

#ifndef CB_KERAS_OPS_CLASS_BALANCED_LOSS_H_
#define CB_KERAS_OPS_CLASS_BALANCED_LOSS_H_

#include <stdint.h>

#include "losses.h"

// Largest multi-hot label of a sigmoid or focal loss: 1, and what rounding may add to a soft one. A
// label outside of [0, kCbkLargestLabel] makes its row's loss and gradient NaN, as a class id that is not a class.
static const float kCbkLargestLabel = 1.001f;

#ifdef __cplusplus
extern "C" {
#endif

enum CbkFloat { kCbkFloat32 = 0, kCbkBfloat16 = 1, kCbkFloat16 = 2 };
// Multi-hot labels are float32; all others are class ids.
enum CbkLabels {
  kCbkInt32 = 0,
  kCbkInt64 = 1,
  kCbkMultiHot = 2,
  kCbkUint64 = 3,
  kCbkFloatIds = 4,
  kCbkDoubleIds = 5
};

// All arrays are dense and row-major, and aligned to their element type only.
struct CbkProblem {
  int loss;         // CbkLoss
  int float_type;   // CbkFloat, of logits and gradient
  int labels_type;  // CbkLabels
  int64_t rows;     // >= 0
  int64_t classes;  // >= 1
  const void* logits;          // [rows, classes]
  const void* labels;          // class ids [rows], or multi-hot [rows, classes]
  const float* class_weights;  // [classes]
  float gamma;                 // finite, >= 0; read by kCbkFocal and kCbkSoftmaxFocal only
  float label_smoothing;       // in [0, 1]; read by kCbkSoftmax only
  int ignores;                 // whether there is a class id to be ignored
  int64_t ignore_class;        // that id; not with kCbkMultiHot
  // Factor of each row's gradient: the gradient of the final loss with respect to the row's loss.
  const float* upstream;  // [rows] or [1], or nullptr for 1
  int upstream_is_scalar;
  float* losses;   // [rows]
  void* gradient;  // [rows, classes], or nullptr: the losses alone
  // [classes], finite, or nullptr for 1, 0 and 0. Of the softmax losses alone; `margin` not with
  // kCbkMultiHot.
  const float* factor;
  const float* offset;
  const float* margin;
};

// Which arrays follow the weights, for callers that have those of the classes in one: the weights,
// then the factors, offsets and margins as far as they are given, each [classes].
enum CbkAdjustment { kCbkFactor = 1, kCbkOffset = 2, kCbkMargin = 4, kCbkAllAdjustments = 7 };

static inline int CbkClassArrays(int64_t adjusts) {
  return (int)(1 + (adjusts & 1) + (adjusts >> 1 & 1) + (adjusts >> 2 & 1));
}

static inline void CbkSetClassArrays(struct CbkProblem* problem, const float* arrays,
                                     int64_t adjusts) {
  const int64_t classes = problem->classes;
  problem->class_weights = arrays;
  problem->factor = adjusts & kCbkFactor ? arrays += classes : 0;
  problem->offset = adjusts & kCbkOffset ? arrays += classes : 0;
  problem->margin = adjusts & kCbkMargin ? arrays += classes : 0;
}

// Why a loss of such labels does not take these; nullptr where it does.
static inline const char* CbkRefusedAdjustments(int loss, int multi_hot, int64_t adjusts) {
  if (adjusts < 0 || adjusts > kCbkAllAdjustments) return "there are three adjustments";
  if (adjusts && !CbkOfSoftmax(loss)) return "only softmax losses adjust their logits";
  if (adjusts & kCbkMargin && multi_hot) return "only class ids have margins";
  return 0;
}

// Multiplies row i of `values` by upstream[i] / applied[i]; a row whose factor is exactly 1 is
// left alone, without being read. Where upstream[i] is 0 the row becomes 0, whatever it was; where
// applied[i] alone is 0 it becomes NaN.
struct CbkScaling {
  int float_type;  // CbkFloat
  int64_t rows;
  int64_t classes;
  const float* upstream;  // [rows]
  const float* applied;   // [rows] or [1]
  int applied_is_scalar;
  void* values;  // [rows, classes], changed in place
};

// How a loop over items 0..n-1 is shared among threads: `parallel_for` calls body(work, begin, end)
// for ranges that together are [0, n), on any threads, and returns when all of them have returned.
// `cost` is the number of processor cycles that an item takes, about.
typedef void (*CbkBody)(void* work, int64_t begin, int64_t end);
typedef void (*CbkParallelFor)(void* pool, int64_t n, int64_t cost, CbkBody body, void* work);

// A CbkParallelFor by the threads of a program's OpenMP, for which `pool` points to a CbkOpenMp. They
// spin for a while after each loop of the program: other threads would find no processor then.
struct CbkOpenMp {
  // GOMP_parallel of that library, which LLVM's and Intel's have too.
  void (*parallel)(void (*function)(void*), void* data, unsigned threads, unsigned flags);
  int64_t threads;  // that its loops have
};
void CbkForOfOpenMp(void* pool, int64_t n, int64_t cost, CbkBody body, void* work);

// On the CPU. `pool` is handed on to `parallel_for`; where that is nullptr the core uses threads of
// its own (cpu/pool.h), and `pool` may point to an int64_t: at most so many threads, the caller
// included. May be called by several threads at once, also with the same pool. Returns
// the first row whose class id is invalid, or -1.
int64_t CbkCpuLoss(const struct CbkProblem* problem, CbkParallelFor parallel_for, void* pool);
void CbkCpuScale(const struct CbkScaling* scaling, CbkParallelFor parallel_for, void* pool);
// Whether upstream equals applied in every row, so that a scaling would change nothing.
int CbkCpuScalesNothing(const struct CbkScaling* scaling);

// On the GPU: all pointers but the struct itself point to device memory. Work is put on `stream`
// (a cudaStream_t) and not waited for. Returns a cudaError_t, 0 for success.
int CbkCudaLoss(const struct CbkProblem* problem, void* stream);
int CbkCudaScale(const struct CbkScaling* scaling, void* stream);
const char* CbkCudaErrorString(int error);

// Name of the instruction set that the CPU kernels use on this machine.
const char* CbkCpuInstructionSet(void);

#ifdef __cplusplus
}
#endif

#endif  // CB_KERAS_OPS_CLASS_BALANCED_LOSS_H_
