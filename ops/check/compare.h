// What the checks compare: results of the kernels with the reference. And how failures are told.

#ifndef CB_KERAS_OPS_CHECK_COMPARE_H_
#define CB_KERAS_OPS_CHECK_COMPARE_H_

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <mutex>
#include <string>
#include <vector>

#include "../class_balanced_loss.h"
#include "problem.h"
#include "reference.h"

namespace cb_keras {
namespace check {

// Counts what passed and says what did not.
class Report {
 public:
  void Add(bool passed, const std::string& what) {
    ++(passed ? passed_ : failed_);
    if (!passed && failed_ <= kMaxShown) printf("FAILED: %s\n", what.c_str());
  }
  // Prints the totals; the exit status of the program.
  int Finish() const {
    printf("%lld checks passed, %lld failed\n", static_cast<long long>(passed_),
           static_cast<long long>(failed_));
    return failed_ == 0 ? 0 : 1;
  }

 private:
  static constexpr int64_t kMaxShown = 30;
  int64_t passed_ = 0, failed_ = 0;
};

// What the kernels left behind, in memory that was filled with kPoison.
struct Output {
  std::vector<float> losses;
  std::vector<unsigned char> gradient;
  bool guards_hold = true;
};

inline std::vector<float> AsFloats(const std::vector<unsigned char>& bytes) {
  std::vector<float> floats(bytes.size() / sizeof(float));
  if (!floats.empty()) memcpy(floats.data(), bytes.data(), bytes.size());
  return floats;
}

// The first difference that any thread found.
class FirstDifference {
 public:
  void Note(const char* array, int64_t row, int64_t c, float got, double expected) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!text_.empty()) return;
    char text[160];
    snprintf(text, sizeof(text), "%s[%lld, %lld] is %.9g, expected %.9g", array,
             static_cast<long long>(row), static_cast<long long>(c), static_cast<double>(got),
             expected);
    text_ = text;
  }
  const std::string& text() const { return text_; }

 private:
  std::mutex mutex_;
  std::string text_;
};

inline void CompareRow(const HostProblem& host, const Output& output, int64_t row,
                       bool with_gradient, FirstDifference* difference) {
  const Case& what = host.what;
  const ExpectedRow expected = ReferenceRow(host, row, with_gradient);
  const float loss = output.losses[static_cast<size_t>(row)];
  if (!Close(loss, expected.loss, kCbkFloat32)) {
    difference->Note("loss", row, 0, loss, expected.loss.value);
  }
  for (int64_t c = 0; c < static_cast<int64_t>(expected.gradient.size()); ++c) {
    const Expected& wanted = expected.gradient[static_cast<size_t>(c)];
    const float got = ReadFloat(what.float_type, output.gradient.data(), row * what.classes + c);
    if (!Close(got, wanted, what.float_type)) {
      difference->Note("gradient", row, c, got, wanted.value);
    }
  }
}

// All losses, and the gradient of all rows or, of large problems, of some: there, the others are
// at least written.
inline void CompareOutput(const HostProblem& host, const Output& output, Report* report) {
  constexpr int64_t kMaxCompared = int64_t{40} << 20;
  const Case& what = host.what;
  report->Add(output.guards_hold, "memory around the results changed: " + what.Name());

  const int64_t total = what.rows * what.classes;
  const uint64_t every = static_cast<uint64_t>(1 + total / kMaxCompared);
  const int64_t size = FloatBytes(what.float_type);
  const unsigned char poison[4] = {kPoison, kPoison, kPoison, kPoison};
  FirstDifference difference;
  InParallel(what.rows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const bool compared = row == 0 || row == what.rows - 1 ||
                            Random{what.seed}.Bits(static_cast<uint64_t>(row)) % every == 0;
      CompareRow(host, output, row, what.gradient && compared, &difference);
      for (int64_t c = 0; what.gradient && c < what.classes; ++c) {
        const int64_t at = row * what.classes + c;
        const void* const element = output.gradient.data() + at * size;
        if (memcmp(element, poison, static_cast<size_t>(size)) == 0) {
          difference.Note("gradient (never written)", row, c, NAN, 0.0);
        }
      }
    }
  });
  report->Add(difference.text().empty(), difference.text() + ": " + what.Name());
}

struct ScaleCase {
  int float_type;
  bool applied_is_scalar;
  int64_t rows;
  int64_t classes;
  uint64_t seed;

  std::string Name() const {
    return "scale, float type " + std::to_string(float_type) + ", " + std::to_string(rows) +
           " x " + std::to_string(classes) + (applied_is_scalar ? ", scalar" : ", rows") +
           ", seed " + std::to_string(seed);
  }
};

struct HostScaling {
  ScaleCase what;
  std::vector<unsigned char> values;  // before
  std::vector<float> upstream;
  std::vector<float> applied;
};

// Ordinary factors, exactly 1, and 0 on either side or both.
inline void FillFactors(const ScaleCase& what, std::vector<float>* upstream,
                        std::vector<float>* applied) {
  const Random random = {what.seed};
  for (int64_t i = 0; i < (what.applied_is_scalar ? 1 : what.rows); ++i) {
    const double a = random.Derive(1).Normal(static_cast<uint64_t>(i));
    applied->push_back(i % 11 == 5 ? 0.0f : static_cast<float>(a));
  }
  for (int64_t i = 0; i < what.rows; ++i) {
    const float a = (*applied)[static_cast<size_t>(what.applied_is_scalar ? 0 : i)];
    const double u = random.Derive(2).Normal(static_cast<uint64_t>(i));
    upstream->push_back(i % 3 == 1 ? a : i % 5 == 0 ? 0.0f : static_cast<float>(u));
  }
}

inline Expected ScaledValue(float value, float upstream, float applied) {
  if (upstream == 0.0f) return kExactlyZero;  // whatever the value is
  const double factor =
      applied == 0.0f ? static_cast<double>(NAN) : static_cast<double>(upstream) / applied;
  Expected expected;
  expected.value = factor * static_cast<double>(value);
  expected.size = fabs(expected.value);
  return expected;
}

inline HostScaling MakeScaling(const ScaleCase& what) {
  const Random random = {what.seed};
  const int64_t count = what.rows * what.classes;
  HostScaling host;
  host.what = what;
  host.values.resize(static_cast<size_t>(count * FloatBytes(what.float_type)));
  for (int64_t i = 0; i < count; ++i) {
    const bool infinite = random.Derive(3).Bits(static_cast<uint64_t>(i)) % 64 == 0;
    const double value = infinite ? static_cast<double>(INFINITY)
                                  : random.Derive(0).Normal(static_cast<uint64_t>(i));
    WriteFloat(what.float_type, static_cast<float>(value), host.values.data(), i);
  }
  FillFactors(what, &host.upstream, &host.applied);
  return host;
}

inline void CompareScaled(const HostScaling& host, const std::vector<unsigned char>& after,
                          bool guards_hold, Report* report) {
  const ScaleCase& what = host.what;
  report->Add(guards_hold, "memory around the values changed: " + what.Name());
  FirstDifference difference;
  for (int64_t i = 0; i < what.rows * what.classes; ++i) {
    const size_t row = static_cast<size_t>(i / what.classes);
    const float u = host.upstream[row], a = host.applied[what.applied_is_scalar ? 0 : row];
    const float before = ReadFloat(what.float_type, host.values.data(), i);
    const float got = ReadFloat(what.float_type, after.data(), i);
    if (u == a && got == before) continue;  // 0 / 0 too may leave the row alone
    const Expected expected = ScaledValue(before, u, a);
    if (!Close(got, expected, what.float_type)) {
      difference.Note("value", i / what.classes, i % what.classes, got, expected.value);
    }
  }
  report->Add(difference.text().empty(), difference.text() + ": " + what.Name());
}

}  // namespace check
}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CHECK_COMPARE_H_
