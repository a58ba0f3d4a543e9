// Class ids of every type. The functions are static: rows.cc is compiled for several instruction
// sets, and each must get its own copy.

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

static inline int64_t ClassIdOf(int32_t label, int64_t classes) {
  return ClassIdOf(int64_t{label}, classes);
}

static inline int64_t ClassIdOf(float label, int64_t classes) {
  return ClassIdOf(double{label}, classes);
}

template <typename Label>
static inline void ReadClassIds(const void* labels, int64_t first, int n, int64_t classes,
                                int64_t* ids) {
  const Label* const from = static_cast<const Label*>(labels) + first;
  for (int i = 0; i < n; ++i) ids[i] = ClassIdOf(from[i], classes);
}

// The classes of n rows from `first` on, -1 where there is none; for all labels but multi-hot ones.
static inline void ReadClassIds(const CbkProblem& problem, int64_t first, int n, int64_t* ids) {
  const void* const labels = problem.labels;
  switch (problem.labels_type) {
    case kCbkInt32:
      return ReadClassIds<int32_t>(labels, first, n, problem.classes, ids);
    case kCbkInt64:
      return ReadClassIds<int64_t>(labels, first, n, problem.classes, ids);
    case kCbkUint64:
      return ReadClassIds<uint64_t>(labels, first, n, problem.classes, ids);
    case kCbkFloatIds:
      return ReadClassIds<float>(labels, first, n, problem.classes, ids);
    case kCbkDoubleIds:
      return ReadClassIds<double>(labels, first, n, problem.classes, ids);
  }
  for (int i = 0; i < n; ++i) ids[i] = -1;
}

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CPU_CLASS_IDS_H_
