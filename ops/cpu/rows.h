// The losses of a range of rows, compiled for several instruction sets; the best is chosen at run
// time.

#ifndef CB_KERAS_OPS_CPU_ROWS_H_
#define CB_KERAS_OPS_CPU_ROWS_H_

#include <stdint.h>

#include "../class_balanced_loss.h"

namespace cb_keras {

struct RowKernels {
  const char* instruction_set;
  // Rows [begin, end) of a problem; safe to call for disjoint ranges at the same time. `stream`
  // writes the gradient past the caches, for gradients that no cache would hold. Returns the first
  // of these rows whose class id is invalid, or -1.
  int64_t (*loss)(const CbkProblem& problem, int64_t begin, int64_t end, bool stream);
  void (*scale)(const CbkScaling& scaling, int64_t begin, int64_t end);
};

namespace baseline {
extern const RowKernels kRowKernels;
}
namespace avx2 {
extern const RowKernels kRowKernels;
}
namespace avx512 {
extern const RowKernels kRowKernels;
}

// The kernels for this processor. The environment variable CB_KERAS_CPU_KERNELS ("baseline",
// "avx2" or "avx512") asks for others, for tests and comparisons; what the processor lacks is
// never chosen.
const RowKernels& BestRowKernels();

// Whether upstream equals applied in every row, so that a scaling would change nothing.
bool ScalesNothing(const CbkScaling& scaling);

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CPU_ROWS_H_
