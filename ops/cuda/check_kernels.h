// Runs the CUDA kernels on random problems and compares what they give with the reference.

#ifndef CB_KERAS_OPS_CUDA_CHECK_KERNELS_H_
#define CB_KERAS_OPS_CUDA_CHECK_KERNELS_H_

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "../class_balanced_loss.h"
#include "check_memory.h"
#include "check_problem.h"
#include "check_reference.h"

namespace cb_keras {
namespace check {

// Counts what passed and says what did not.
class Report {
 public:
  void Add(bool passed, const std::string& what) {
    ++(passed ? passed_ : failed_);
    if (!passed && failed_ <= kMaxShown) printf("FAILED: %s\n", what.c_str());
  }
  int64_t passed() const { return passed_; }
  int64_t failed() const { return failed_; }

 private:
  static constexpr int64_t kMaxShown = 30;
  int64_t passed_ = 0, failed_ = 0;
};

// What the kernels left behind.
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

// Arrays begin at boundaries of their elements only; the shifts of logits and gradient are the same
// in some problems and differ in others.
inline Output RunLoss(const HostProblem& host) {
  const Case& what = host.what;
  const Random random = Random{what.seed}.Derive(4);
  const int64_t size = FloatBytes(what.float_type), count = what.rows * what.classes;
  const auto shift = [&](uint64_t index) {
    return static_cast<int64_t>(random.Bits(index) % 8);
  };
  const int64_t logits_shift = shift(0) * size;
  const int64_t gradient_shift = random.Bits(1) % 2 == 0 ? logits_shift : shift(2) * size;
  const int64_t labels_shift = shift(3) * (what.labels_type == kCbkInt64 ? 8 : 4);

  const auto bytes = [](const auto& array) {
    return static_cast<int64_t>(array.size() * sizeof(array[0]));
  };
  DeviceArray logits(DeviceArray::kInput, bytes(host.logits), logits_shift);
  DeviceArray labels(DeviceArray::kInput, bytes(host.labels), labels_shift);
  DeviceArray weights(DeviceArray::kInput, bytes(host.class_weights), 4 * shift(4));
  DeviceArray upstream(DeviceArray::kInput, bytes(host.upstream), 4 * shift(5));
  DeviceArray losses(DeviceArray::kOutput, 4 * what.rows, 4 * shift(6));
  DeviceArray gradient(DeviceArray::kOutput, what.gradient ? size * count : 0, gradient_shift);
  logits.Upload(host.logits.data());
  labels.Upload(host.labels.data());
  weights.Upload(host.class_weights.data());
  upstream.Upload(host.upstream.data());

  CbkProblem problem = {};
  problem.loss = what.loss;
  problem.float_type = what.float_type;
  problem.labels_type = what.labels_type;
  problem.rows = what.rows;
  problem.classes = what.classes;
  problem.logits = logits.data();
  problem.labels = labels.data();
  problem.class_weights = static_cast<const float*>(weights.data());
  problem.gamma = what.gamma;
  problem.upstream =
      what.upstream == kNoUpstream ? nullptr : static_cast<const float*>(upstream.data());
  problem.upstream_is_scalar = what.upstream == kScalarUpstream;
  problem.losses = static_cast<float*>(losses.data());
  problem.gradient = what.gradient ? gradient.data() : nullptr;
  Require(CbkCudaLoss(&problem, nullptr), "CbkCudaLoss");
  Require(cudaDeviceSynchronize(), "running CbkCudaLoss");

  Output output;
  output.losses = AsFloats(losses.Download(&output.guards_hold));
  output.gradient = gradient.Download(&output.guards_hold);
  return output;
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
inline void CheckLoss(const Case& what, Report* report) {
  constexpr int64_t kMaxCompared = int64_t{40} << 20;
  const HostProblem host = MakeProblem(what);
  const Output output = RunLoss(host);
  report->Add(output.guards_hold, "memory around the results changed: " + what.Name());

  const int64_t total = what.rows * what.classes;
  const uint64_t every = static_cast<uint64_t>(1 + total / kMaxCompared);
  const int64_t size = FloatBytes(what.float_type);
  const unsigned char poison[4] = {0xff, 0xff, 0xff, 0xff};
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
  const double factor = applied == 0.0f ? (upstream == 0.0f ? 0.0 : static_cast<double>(NAN))
                                        : static_cast<double>(upstream) / applied;
  Expected expected;
  expected.value = factor * static_cast<double>(value);
  expected.size = fabs(expected.value);
  return expected;
}

inline void CheckScale(const ScaleCase& what, Report* report) {
  const Random random = {what.seed};
  const int64_t count = what.rows * what.classes, size = FloatBytes(what.float_type);
  std::vector<unsigned char> before(static_cast<size_t>(count * size));
  for (int64_t i = 0; i < count; ++i) {
    const double value = random.Derive(0).Normal(static_cast<uint64_t>(i));
    WriteFloat(what.float_type, static_cast<float>(value), before.data(), i);
  }
  std::vector<float> upstream, applied;
  FillFactors(what, &upstream, &applied);

  const int64_t shift = static_cast<int64_t>(random.Bits(0) % 8);
  DeviceArray values(DeviceArray::kOutput, count * size, shift * size);
  DeviceArray device_upstream(DeviceArray::kInput, 4 * what.rows, 4);
  DeviceArray device_applied(DeviceArray::kInput, static_cast<int64_t>(4 * applied.size()), 8);
  values.Upload(before.data());
  device_upstream.Upload(upstream.data());
  device_applied.Upload(applied.data());
  const CbkScaling scaling = {what.float_type,
                              what.rows,
                              what.classes,
                              static_cast<const float*>(device_upstream.data()),
                              static_cast<const float*>(device_applied.data()),
                              what.applied_is_scalar,
                              values.data()};
  Require(CbkCudaScale(&scaling, nullptr), "CbkCudaScale");
  Require(cudaDeviceSynchronize(), "running CbkCudaScale");

  bool guards_hold = true;
  const std::vector<unsigned char> after = values.Download(&guards_hold);
  report->Add(guards_hold, "memory around the values changed: " + what.Name());
  FirstDifference difference;
  for (int64_t i = 0; i < count; ++i) {
    const size_t row = static_cast<size_t>(i / what.classes);
    const float a = applied[what.applied_is_scalar ? 0 : row];
    const Expected expected =
        ScaledValue(ReadFloat(what.float_type, before.data(), i), upstream[row], a);
    const float got = ReadFloat(what.float_type, after.data(), i);
    if (!Close(got, expected, what.float_type)) {
      difference.Note("value", i / what.classes, i % what.classes, got, expected.value);
    }
  }
  report->Add(difference.text().empty(), difference.text() + ": " + what.Name());
}

}  // namespace check
}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CUDA_CHECK_KERNELS_H_
