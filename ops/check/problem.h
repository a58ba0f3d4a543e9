// Random problems for the checks of the kernels, made on the host from a seed.

#ifndef CB_KERAS_OPS_CHECK_PROBLEM_H_
#define CB_KERAS_OPS_CHECK_PROBLEM_H_

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "../class_balanced_loss.h"
#include "half_bits.h"

namespace cb_keras {
namespace check {

// Calls work(begin, end) on pieces of [0, count), on all processors.
template <typename Work>
void InParallel(int64_t count, const Work& work) {
  const int64_t threads =
      std::max<int64_t>(1, std::min<int64_t>(count, std::thread::hardware_concurrency()));
  std::vector<std::thread> pool;
  for (int64_t i = 1; i < threads; ++i) {
    pool.emplace_back([&, i] { work(count * i / threads, count * (i + 1) / threads); });
  }
  work(0, count / threads);
  for (std::thread& thread : pool) thread.join();
}

// Fills memory before a kernel writes it. No kernel gives such a number; a GPU does give NaN of all
// ones, where one is negated.
constexpr unsigned char kPoison = 0x7f;

// Random numbers that depend on the seed and the index alone.
struct Random {
  uint64_t seed;

  uint64_t Bits(uint64_t index) const {
    uint64_t x = seed + (index + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }
  double Uniform(uint64_t index) const { return static_cast<double>(Bits(index) >> 11) / 0x1p53; }
  // Nearly normal: four 16-bit uniform numbers added up.
  double Normal(uint64_t index) const {
    const uint64_t bits = Bits(index);
    double sum = -2.0;
    for (int i = 0; i < 4; ++i) sum += static_cast<double>((bits >> (16 * i)) & 0xffff) / 0x1p16;
    return sum * 1.7320508;
  }
  Random Derive(uint64_t purpose) const { return {Bits(~purpose)}; }
};

enum Adjustment { kFactor, kOffset, kMargin };
enum Upstream { kNoUpstream, kScalarUpstream, kRowUpstream };

struct Case {
  int loss;
  int float_type;
  int labels_type;
  bool gradient;
  int upstream;
  int64_t rows;
  int64_t classes;
  float gamma;
  uint64_t seed;

  // Of every third problem each, and never both.
  float LabelSmoothing() const { return loss == kCbkSoftmax && seed % 3 == 1 ? 0.1f : 0.0f; }
  bool Ignores() const { return labels_type != kCbkMultiHot && seed % 3 == 2; }
  // Of every other softmax problem some of them; margins of class ids alone.
  bool Adjusts(int which) const {
    const bool some = CbkOfSoftmax(loss) && seed / 3 % 2 == 1;
    const bool this_one = (seed / 6 % 7 + 1) >> which & 1;
    return some && this_one && (which != kMargin || labels_type != kCbkMultiHot);
  }
  // An id that some labels have: one that is not a class, or class 0.
  int64_t IgnoreClass() const { return seed % 2 == 0 ? -1 : 0; }

  std::string Name() const {
    const char* const floats[] = {"float32", "bfloat16", "float16"};
    const char* const labels[] = {"int32", "int64", "multi-hot", "uint64", "float", "double"};
    const char* const upstreams[] = {"no upstream", "scalar upstream", "row upstream"};
    char text[240];
    snprintf(text, sizeof(text), "%s %s %s [%lld, %lld] %s, %s, gamma %g%s%s%s, seed %llu",
             CbkLossName(loss), floats[float_type], labels[labels_type], static_cast<long long>(rows),
             static_cast<long long>(classes), gradient ? "gradient" : "forward only",
             upstreams[upstream], static_cast<double>(gamma),
             Adjusts(kFactor) ? ", factor" : "", Adjusts(kOffset) ? ", offset" : "",
             Adjusts(kMargin) ? ", margin" : "",
             static_cast<unsigned long long>(seed));
    return text;
  }
};

inline int64_t FloatBytes(int float_type) { return float_type == kCbkFloat32 ? 4 : 2; }

inline int64_t LabelBytes(int labels_type) {
  return labels_type == kCbkInt64 || labels_type == kCbkUint64 || labels_type == kCbkDoubleIds ? 8
                                                                                               : 4;
}

// Element `index` of an array of a CbkFloat type.
inline float ReadFloat(int float_type, const void* array, int64_t index) {
  if (float_type == kCbkFloat32) return static_cast<const float*>(array)[index];
  const uint16_t bits = static_cast<const uint16_t*>(array)[index];
  return float_type == kCbkBfloat16 ? BfloatValue(bits) : HalfValue(bits);
}

inline void WriteFloat(int float_type, float value, void* array, int64_t index) {
  if (float_type == kCbkFloat32) {
    static_cast<float*>(array)[index] = value;
  } else {
    static_cast<uint16_t*>(array)[index] =
        float_type == kCbkBfloat16 ? BfloatBits(value) : HalfBits(value);
  }
}

inline int64_t WholeNumber(double x) {
  return fabs(x) < 0x1p62 && x == rint(x) ? static_cast<int64_t>(x) : -1;
}

// What there is of each class, in the memory of the device.
template <typename Array>
struct ClassArrays {
  Array weights, factor, offset, margin;
};

// The case as the kernels take it; the arrays are in the memory of the device, and have `data()`.
template <typename Array>
CbkProblem ProblemIn(const Case& what, const Array& logits, const Array& labels,
                     const ClassArrays<Array>& of_classes, const Array& upstream,
                     const Array& losses, const Array& gradient) {
  const auto given = [&](int which, const Array& array) {
    return what.Adjusts(which) ? static_cast<const float*>(array.data()) : nullptr;
  };
  CbkProblem problem = {};
  problem.loss = what.loss;
  problem.float_type = what.float_type;
  problem.labels_type = what.labels_type;
  problem.rows = what.rows;
  problem.classes = what.classes;
  problem.logits = logits.data();
  problem.labels = labels.data();
  problem.class_weights = static_cast<const float*>(of_classes.weights.data());
  problem.gamma = what.gamma;
  problem.label_smoothing = what.LabelSmoothing();
  problem.ignores = what.Ignores();
  problem.ignore_class = what.IgnoreClass();
  problem.upstream =
      what.upstream == kNoUpstream ? nullptr : static_cast<const float*>(upstream.data());
  problem.upstream_is_scalar = what.upstream == kScalarUpstream;
  problem.losses = static_cast<float*>(losses.data());
  problem.gradient = what.gradient ? gradient.data() : nullptr;
  problem.factor = given(kFactor, of_classes.factor);
  problem.offset = given(kOffset, of_classes.offset);
  problem.margin = given(kMargin, of_classes.margin);
  return problem;
}

struct HostProblem {
  Case what;
  std::vector<unsigned char> logits;
  std::vector<unsigned char> labels;
  std::vector<float> class_weights;
  std::vector<float> factor, offset, margin;  // empty where there is none
  std::vector<float> upstream;

  double Factor(int64_t c) const {
    return factor.empty() ? 1.0 : static_cast<double>(factor[static_cast<size_t>(c)]);
  }
  double Offset(int64_t c) const {
    return offset.empty() ? 0.0 : static_cast<double>(offset[static_cast<size_t>(c)]);
  }
  double Margin(int64_t row, int64_t c) const {
    const bool is_label = !margin.empty() && ClassId(row) == c;
    return is_label ? static_cast<double>(margin[static_cast<size_t>(c)]) : 0.0;
  }
  // What a softmax loss takes in place of the logit.
  double Adjusted(int64_t row, int64_t c) const {
    return Factor(c) * static_cast<double>(Logit(row, c)) + Offset(c) - Margin(row, c);
  }
  float Logit(int64_t row, int64_t c) const {
    return ReadFloat(what.float_type, logits.data(), row * what.classes + c);
  }
  float MultiHot(int64_t row, int64_t c) const {
    return reinterpret_cast<const float*>(labels.data())[row * what.classes + c];
  }
  // A multi-hot label times its class weight, as the kernels round it.
  double Target(int64_t row, int64_t c) const {
    return static_cast<double>(MultiHot(row, c) * class_weights[static_cast<size_t>(c)]);
  }
  // The class id, whether or not it is one; -1 for what is not an int64.
  int64_t ClassId(int64_t row) const {
    const void* const ids = labels.data();
    switch (what.labels_type) {
      case kCbkInt32: return static_cast<const int32_t*>(ids)[row];
      case kCbkInt64: return static_cast<const int64_t*>(ids)[row];
      case kCbkUint64: return static_cast<int64_t>(static_cast<const uint64_t*>(ids)[row]);
      case kCbkFloatIds: return WholeNumber(double{static_cast<const float*>(ids)[row]});
      default: return WholeNumber(static_cast<const double*>(ids)[row]);
    }
  }
  bool IsIgnored(int64_t row) const {
    if (!what.Ignores()) return false;
    const int64_t ignored = what.IgnoreClass();
    switch (what.labels_type) {  // ClassId has -1 for more than -1
      case kCbkUint64: return ignored >= 0 && ClassId(row) == ignored;
      case kCbkFloatIds:
        return reinterpret_cast<const float*>(labels.data())[row] == static_cast<float>(ignored);
      case kCbkDoubleIds:
        return reinterpret_cast<const double*>(labels.data())[row] == static_cast<double>(ignored);
      default: return ClassId(row) == ignored;
    }
  }
  double UpstreamOf(int64_t row) const {
    if (what.upstream == kNoUpstream) return 1.0;
    return static_cast<double>(upstream[what.upstream == kScalarUpstream ? 0 : row]);
  }
};

inline double WeightOf(const HostProblem& problem, int64_t row) {
  const int64_t classes = problem.what.classes;
  if (problem.IsIgnored(row)) return 0.0;
  if (problem.what.labels_type != kCbkMultiHot) {
    const int64_t id = problem.ClassId(row);
    return id >= 0 && id < classes
               ? static_cast<double>(problem.class_weights[static_cast<size_t>(id)])
               : static_cast<double>(NAN);
  }
  double labels = 0.0, weighted = 0.0, weights = 0.0, largest = 0.0;
  for (int64_t c = 0; c < classes; ++c) {
    largest = fmax(largest, fabs(problem.Target(row, c)));
    const double y = static_cast<double>(problem.MultiHot(row, c));
    const double weight = static_cast<double>(problem.class_weights[static_cast<size_t>(c)]);
    labels += y >= 0.0 && y <= static_cast<double>(kCbkLargestLabel) ? y : static_cast<double>(NAN);
    weighted += y * weight;
    weights += weight;
  }
  // Of a softmax loss: 0 or not.
  if (CbkOfSoftmax(problem.what.loss)) return largest == 0.0 ? 0.0 : 1.0;
  return labels <= 0.0 ? weights / static_cast<double>(classes) : weighted / labels;
}

inline int64_t RandomClassId(const Case& what, uint64_t bits) {
  const uint64_t classes = static_cast<uint64_t>(what.classes);
  if (bits % 16 != 0) return static_cast<int64_t>((bits >> 8) % classes);
  const int64_t wrong_32[] = {-1, what.classes, INT32_MIN, INT32_MAX};
  // The last ones are in range if cut to 32 bits. As uint64, those below 0 are 2^63 and more.
  const int64_t wrong_64[] = {-1, what.classes, int64_t{1} << 32, -(int64_t{1} << 40), INT64_MIN};
  return what.labels_type == kCbkInt32 ? wrong_32[(bits >> 4) % 4] : wrong_64[(bits >> 4) % 5];
}

// Of the same ids; of the wrong ones some are not whole numbers.
inline double RandomFloatId(const Case& what, uint64_t bits) {
  const double wrong[] = {0.5, -0.5, 0x1p-30, static_cast<double>(NAN),
                          static_cast<double>(INFINITY), 1e20};
  const uint64_t which = (bits >> 4) % 12;
  if (bits % 16 == 0 && which < 6) return wrong[which];
  return static_cast<double>(RandomClassId(what, bits));
}

inline void FillLabels(const Random& random, HostProblem* problem) {
  const Case& what = problem->what;
  const int64_t per_row = what.labels_type == kCbkMultiHot ? what.classes : 1;
  problem->labels.resize(
      static_cast<size_t>(what.rows * per_row * LabelBytes(what.labels_type)));
  void* const labels = problem->labels.data();
  InParallel(what.rows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const uint64_t bits = random.Bits(static_cast<uint64_t>(row));
      const int64_t id = RandomClassId(what, bits);
      if (what.labels_type == kCbkInt32) {
        static_cast<int32_t*>(labels)[row] = static_cast<int32_t>(id);
      } else if (what.labels_type == kCbkFloatIds) {
        static_cast<float*>(labels)[row] = static_cast<float>(RandomFloatId(what, bits));
      } else if (what.labels_type == kCbkDoubleIds) {
        static_cast<double*>(labels)[row] = RandomFloatId(what, bits);
      } else if (what.labels_type != kCbkMultiHot) {
        static_cast<int64_t*>(labels)[row] = id;  // as uint64 the same bits
      } else {
        const Random of_row = random.Derive(static_cast<uint64_t>(row));
        float* const y = static_cast<float*>(labels) + row * what.classes;
        for (int64_t c = 0; c < what.classes; ++c) {
          const double u = of_row.Uniform(static_cast<uint64_t>(c));
          switch ((bits >> 32) % 5) {  // Hard, one (or none), none, soft, and smoothed labels.
            case 0: y[c] = u < 0.3 ? 1.0f : 0.0f; break;
            case 1: y[c] = c == id ? 1.0f : 0.0f; break;
            case 2: y[c] = 0.0f; break;
            case 3: y[c] = static_cast<float>(u); break;
            default: y[c] = c == id ? 0.9f : 0.1f / static_cast<float>(what.classes);
          }
          // Now and then a label that is out of range: "uncertain", a mask of bytes, rounding.
          if (c == id && (bits >> 40) % 16 == 0) {
            const float strange[] = {-1.0f, 255.0f, 1.0005f, -1e-6f};
            y[c] = strange[(bits >> 44) % 4];
          }
        }
      }
    }
  });
}

// Rows of several kinds; sizes stay within float16.
inline float RandomLogit(int kind, const Random& random, int64_t c) {
  const uint64_t index = static_cast<uint64_t>(c);
  switch (kind) {
    case 0: return static_cast<float>(200.0 * random.Uniform(index) - 100.0);
    case 1: return static_cast<float>(2e4 * random.Uniform(index) - 1e4);
    case 2: return static_cast<float>(random.Normal(~uint64_t{0}));  // All equal.
    case 3: return random.Bits(index) % 4 == 0 ? -INFINITY
                                               : static_cast<float>(3.0 * random.Normal(index));
    case 4: return static_cast<float>(0.001 * c - 20.0);  // Rising.
    default: return static_cast<float>(3.0 * random.Normal(index));
  }
}

// Logits of a row whose weight is 0, which are not to matter.
inline float AnyLogit(const Random& random, int64_t c) {
  const float numbers[] = {INFINITY, -INFINITY, NAN, 3.0f, -3.0f};
  return numbers[random.Bits(static_cast<uint64_t>(c)) % 5];
}

inline void FillLogits(const Random& random, HostProblem* problem) {
  const Case& what = problem->what;
  problem->logits.resize(
      static_cast<size_t>(what.rows * what.classes * FloatBytes(what.float_type)));
  InParallel(what.rows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const Random of_row = random.Derive(static_cast<uint64_t>(row));
      const int kind = static_cast<int>(of_row.Bits(1u << 31) % 12);
      const bool no_weight = WeightOf(*problem, row) == 0.0;
      for (int64_t c = 0; c < what.classes; ++c) {
        float z = no_weight ? AnyLogit(of_row, c) : RandomLogit(kind, of_row, c);
        // A present class with logit minus infinity has an infinite loss: not to be compared.
        const bool present = what.labels_type == kCbkMultiHot ? problem->MultiHot(row, c) != 0.0f
                                                              : problem->ClassId(row) == c;
        if (present && isinf(z) && !no_weight) z = -3.0f;
        WriteFloat(what.float_type, z, problem->logits.data(), row * what.classes + c);
      }
      if (kind == 5) {
        const uint64_t at = of_row.Bits(1u << 30) % static_cast<uint64_t>(what.classes);
        WriteFloat(what.float_type, NAN, problem->logits.data(),
                   row * what.classes + static_cast<int64_t>(at));
      }
    }
  });
}

inline HostProblem MakeProblem(const Case& what) {
  HostProblem problem;
  problem.what = what;
  const Random random = {what.seed};
  for (int64_t c = 0; c < what.classes; ++c) {
    const Random of_class = random.Derive(2);
    const double weight = exp(of_class.Normal(static_cast<uint64_t>(c)));
    const bool none = of_class.Derive(0).Bits(static_cast<uint64_t>(c)) % 6 == 0;
    problem.class_weights.push_back(none ? 0.0f : static_cast<float>(weight));
  }
  for (int64_t c = 0; c < what.classes; ++c) {
    const Random of_class = random.Derive(5).Derive(static_cast<uint64_t>(c));
    // A margin of 300 leaves nothing of the label's exponential next to what it was without it.
    const bool large = of_class.Bits(3) % 8 == 0;
    const double margin = large ? 300.0 : 15.0 * of_class.Uniform(2);
    if (what.Adjusts(kFactor)) {
      problem.factor.push_back(static_cast<float>(0.25 + 1.5 * of_class.Uniform(0)));
    }
    if (what.Adjusts(kOffset)) {
      problem.offset.push_back(static_cast<float>(-8.0 * of_class.Uniform(1)));
    }
    if (what.Adjusts(kMargin)) problem.margin.push_back(static_cast<float>(margin));
  }
  FillLabels(random.Derive(0), &problem);
  FillLogits(random.Derive(1), &problem);
  const int64_t upstreams = what.upstream == kRowUpstream ? what.rows : what.upstream;
  for (int64_t i = 0; i < upstreams; ++i) {
    const double u = random.Derive(3).Normal(static_cast<uint64_t>(i));
    problem.upstream.push_back(i % 7 == 6 ? 0.0f : static_cast<float>(u));
  }
  return problem;
}

}  // namespace check
}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CHECK_PROBLEM_H_
