// Class ids of every type. The functions are static: rows.cc is compiled for several instruction
// sets, and each must get its own copy.

#ifndef CB_KERAS_OPS_CPU_CLASS_IDS_H_
#define CB_KERAS_OPS_CPU_CLASS_IDS_H_

#include <math.h>
#include <stdint.h>

#include "../class_balanced_loss.h"

namespace cb_keras {

constexpr int64_t kNoClass = -1, kIgnoredClass = -2;

// The class that a label names, or kNoClass.
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

static inline bool IsClassId(int32_t label, int64_t id) { return label == id; }
static inline bool IsClassId(int64_t label, int64_t id) { return label == id; }
static inline bool IsClassId(uint64_t label, int64_t id) {
  return id >= 0 && label == static_cast<uint64_t>(id);
}
static inline bool IsClassId(float label, int64_t id) {
  return static_cast<double>(label) == static_cast<double>(id);
}
static inline bool IsClassId(double label, int64_t id) {
  return label == static_cast<double>(id);
}

template <typename Label>
static inline void ReadClassIds(const CbkProblem& problem, int64_t first, int n, int64_t* ids) {
  const Label* const from = static_cast<const Label*>(problem.labels) + first;
  for (int i = 0; i < n; ++i) ids[i] = ClassIdOf(from[i], problem.classes);
  if (!problem.ignores) return;
  for (int i = 0; i < n; ++i) {
    if (IsClassId(from[i], problem.ignore_class)) ids[i] = kIgnoredClass;
  }
}

// The classes of n rows from `first` on, kNoClass where there is none and kIgnoredClass where the
// row is not to count; for all labels but multi-hot ones.
static inline void ReadClassIds(const CbkProblem& problem, int64_t first, int n, int64_t* ids) {
  switch (problem.labels_type) {
    case kCbkInt32:
      return ReadClassIds<int32_t>(problem, first, n, ids);
    case kCbkInt64:
      return ReadClassIds<int64_t>(problem, first, n, ids);
    case kCbkUint64:
      return ReadClassIds<uint64_t>(problem, first, n, ids);
    case kCbkFloatIds:
      return ReadClassIds<float>(problem, first, n, ids);
    case kCbkDoubleIds:
      return ReadClassIds<double>(problem, first, n, ids);
  }
  for (int i = 0; i < n; ++i) ids[i] = kNoClass;
}

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CPU_CLASS_IDS_H_
