// Class ids of every type. The functions are static: rows.cc is compiled for several instruction
// sets, and none of them is to get another's copy.

#ifndef CB_KERAS_OPS_CPU_CLASS_IDS_H_
#define CB_KERAS_OPS_CPU_CLASS_IDS_H_

#include <math.h>
#include <stdint.h>

#include "../class_balanced_loss.h"

namespace cb_keras {

// The class that a label names, or -1.
static inline int64_t ClassIdOf(int64_t label, int64_t classes) {
  return label >= 0 && label < classes ? label : -1;
}

static inline int64_t ClassIdOf(uint64_t label, int64_t classes) {
  return label < static_cast<uint64_t>(classes) ? static_cast<int64_t>(label) : -1;
}

static inline int64_t ClassIdOf(double label, int64_t classes) {
  const bool in_range = label >= 0.0 && label < static_cast<double>(classes);  // NaN is not
  return in_range && label == floor(label) ? static_cast<int64_t>(label) : -1;
}

// The class of a row, or -1; for all labels but multi-hot ones.
static inline int64_t ClassIdOf(const CbkProblem& problem, int64_t row) {
  const int64_t classes = problem.classes;
  switch (problem.labels_type) {
    case kCbkInt32:
      return ClassIdOf(int64_t{static_cast<const int32_t*>(problem.labels)[row]}, classes);
    case kCbkInt64:
      return ClassIdOf(static_cast<const int64_t*>(problem.labels)[row], classes);
    case kCbkUint64:
      return ClassIdOf(static_cast<const uint64_t*>(problem.labels)[row], classes);
    case kCbkFloatIds:
      return ClassIdOf(double{static_cast<const float*>(problem.labels)[row]}, classes);
    case kCbkDoubleIds:
      return ClassIdOf(static_cast<const double*>(problem.labels)[row], classes);
  }
  return -1;
}

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CPU_CLASS_IDS_H_
