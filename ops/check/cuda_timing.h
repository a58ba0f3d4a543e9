// Times the CUDA kernels next to a copy of as many bytes.

#ifndef CB_KERAS_OPS_CHECK_CUDA_TIMING_H_
#define CB_KERAS_OPS_CHECK_CUDA_TIMING_H_

#include <stdint.h>
#include <stdio.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cuda_memory.h"
#include "problem.h"

namespace cb_keras {
namespace check {

// Median time of one call in microseconds. run(i) is the i-th call, for turning to other memory
// than the last one's; calls are timed in batches, as one alone may be shorter than its events.
inline double MedianMicroseconds(const std::function<void(int)>& run) {
  constexpr int kBatches = 51, kCalls = 20;
  cudaEvent_t start, stop;
  Require(cudaEventCreate(&start), "cudaEventCreate");
  Require(cudaEventCreate(&stop), "cudaEventCreate");
  for (int i = 0; i < 2 * kCalls; ++i) run(i);
  std::vector<float> times;
  for (int batch = 0; batch < kBatches; ++batch) {
    Require(cudaEventRecord(start, nullptr), "cudaEventRecord");
    for (int i = 0; i < kCalls; ++i) run(batch * kCalls + i);
    Require(cudaEventRecord(stop, nullptr), "cudaEventRecord");
    Require(cudaEventSynchronize(stop), "running timed calls");
    float milliseconds = 0.0f;
    Require(cudaEventElapsedTime(&milliseconds, start, stop), "cudaEventElapsedTime");
    times.push_back(milliseconds);
  }
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
  std::nth_element(times.begin(), times.begin() + kBatches / 2, times.end());
  return static_cast<double>(times[kBatches / 2]) * 1e3 / kCalls;
}

struct Timing {
  Case what;
  bool adjusted;  // whether the classes have factors, offsets and margins
  double microseconds, copy_microseconds, bytes;

  double GigabytesPerSecond() const { return bytes / microseconds / 1e3; }
  double RatioToCopy() const { return copy_microseconds / microseconds; }
};

// A problem on the device that each loss is computed of, and a source and a target for the copy that
// it is compared with.
struct TimedProblem {
  TimedProblem(const HostProblem& host, const std::vector<unsigned char>& copied)
      : logits(DeviceArray::kInput, static_cast<int64_t>(host.logits.size()), 0),
        labels(DeviceArray::kInput, static_cast<int64_t>(host.labels.size()), 0),
        weights(DeviceArray::kInput, 4 * 4 * host.what.classes, 0),
        losses(DeviceArray::kInput, 4 * host.what.rows, 0),
        gradient(DeviceArray::kInput, static_cast<int64_t>(host.logits.size()), 0),
        copy_source(DeviceArray::kInput, static_cast<int64_t>(copied.size()), 0),
        copy_target(DeviceArray::kInput, static_cast<int64_t>(copied.size()), 0) {
    logits.Upload(host.logits.data());
    labels.Upload(host.labels.data());
    std::vector<float> of_classes;  // weights, factors, offsets and margins
    for (int i = 0; i < 4; ++i) {
      of_classes.insert(of_classes.end(), host.class_weights.begin(), host.class_weights.end());
    }
    weights.Upload(of_classes.data());
    copy_source.Upload(copied.data());
    problem.float_type = host.what.float_type;
    problem.labels_type = host.what.labels_type;
    problem.rows = host.what.rows;
    problem.classes = host.what.classes;
    problem.logits = logits.data();
    problem.labels = labels.data();
    problem.class_weights = static_cast<const float*>(weights.data());
    problem.gamma = host.what.gamma;
    problem.losses = static_cast<float*>(losses.data());
  }

  void Run(int loss, bool with_gradient, bool adjusted) const {
    CbkProblem one = problem;
    one.loss = loss;
    CbkSetClassArrays(&one, problem.class_weights, adjusted ? kCbkAllAdjustments : 0);
    one.gradient = with_gradient ? gradient.data() : nullptr;
    Require(CbkCudaLoss(&one, nullptr), "CbkCudaLoss");
  }
  void Copy(size_t bytes) const {
    Require(cudaMemcpyAsync(copy_target.data(), copy_source.data(), bytes,
                            cudaMemcpyDeviceToDevice, nullptr),
            "copy");
  }

  DeviceArray logits, labels, weights, losses, gradient, copy_source, copy_target;
  CbkProblem problem = {};
};

// Usual logits, true class ids of type int32 and weights above 0: no row that is quickly done with.
inline HostProblem UsualProblem(const Case& what) {
  HostProblem problem;
  problem.what = what;
  const Random random = {what.seed};
  for (int64_t c = 0; c < what.classes; ++c) {
    problem.class_weights.push_back(0.5f +
                                    static_cast<float>(random.Uniform(static_cast<uint64_t>(c))));
  }
  problem.labels.resize(static_cast<size_t>(4 * what.rows));
  problem.logits.resize(static_cast<size_t>(what.rows * what.classes * FloatBytes(what.float_type)));
  InParallel(what.rows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const Random of_row = random.Derive(static_cast<uint64_t>(row));
      reinterpret_cast<int32_t*>(problem.labels.data())[row] = static_cast<int32_t>(
          of_row.Bits(~uint64_t{0}) % static_cast<uint64_t>(what.classes));
      for (int64_t c = 0; c < what.classes; ++c) {
        WriteFloat(what.float_type,
                   static_cast<float>(3.0 * of_row.Normal(static_cast<uint64_t>(c))),
                   problem.logits.data(), row * what.classes + c);
      }
    }
  });
  return problem;
}

// Every loss of one problem, and the softmax loss of adjusted logits, with its gradient and alone.
// Turns between as many equal problems as exceed the cache several times, up to a limit that only the
// smallest problems meet.
template <typename Add>
void TimeLosses(const Case& of, int64_t cache_bytes, const Add& add) {
  const HostProblem host = UsualProblem(of);
  const int64_t logits = static_cast<int64_t>(host.logits.size());
  const int64_t rest = static_cast<int64_t>(host.labels.size()) + 4 * of.rows + 4 * of.classes;
  const int64_t sets =
      std::max<int64_t>(2, std::min<int64_t>(32, 3 * cache_bytes / (logits + rest) + 1));
  // Not zeros, which copy faster on some cards.
  std::vector<unsigned char> copied(static_cast<size_t>((2 * logits + rest) / 2));
  for (size_t i = 0; i < copied.size(); ++i) copied[i] = static_cast<unsigned char>(i * 37 >> 3);
  std::vector<std::unique_ptr<TimedProblem>> problems;
  for (int64_t i = 0; i < sets; ++i) problems.emplace_back(new TimedProblem(host, copied));
  const auto turn = [&](int i) -> const TimedProblem& {
    return *problems[static_cast<size_t>(i % sets)];
  };
  for (const bool gradient : {true, false}) {
    const int64_t bytes = (gradient ? 2 : 1) * logits + rest;
    // A copy reads and writes its bytes: half as many do.
    const double copy = MedianMicroseconds(
        [&](int i) { turn(i).Copy(static_cast<size_t>(bytes / 2)); });
    for (int i = 0; i <= kCbkLossCount; ++i) {
      const bool adjusted = i == kCbkLossCount;
      Case what = of;
      what.loss = adjusted ? kCbkSoftmax : i;
      what.gradient = gradient;
      const double own =
          MedianMicroseconds([&](int j) { turn(j).Run(what.loss, gradient, adjusted); });
      add(Timing{what, adjusted, own, copy, static_cast<double>(bytes)});
    }
  }
}

inline void WriteJson(const std::string& path, const std::string& device,
                      const std::vector<Timing>& timings) {
  const char* const floats[] = {"float32", "bfloat16", "float16"};
  FILE* const file = fopen(path.c_str(), "w");
  if (file == nullptr) {
    fprintf(stderr, "cannot write %s\n", path.c_str());
    exit(1);
  }
  fprintf(file, "{\"device\": \"%s\", \"timings\": [", device.c_str());
  for (size_t i = 0; i < timings.size(); ++i) {
    const Timing& timing = timings[i];
    fprintf(file,
            "%s\n  {\"loss\": \"%s\", \"dtype\": \"%s\", \"gradient\": %s, \"rows\": %lld, "
            "\"classes\": %lld, \"microseconds\": %.3f, \"copy_microseconds\": %.3f, \"gigabytes_per_second\": %.1f, "
            "\"ratio_to_copy\": %.4f}",
            i == 0 ? "" : ",", CbkLossName(timing.what.loss), floats[timing.what.float_type],
            timing.what.gradient ? "true" : "false",
            static_cast<long long>(timing.what.rows), static_cast<long long>(timing.what.classes),
            timing.microseconds, timing.copy_microseconds, timing.GigabytesPerSecond(),
            timing.RatioToCopy());
  }
  fprintf(file, "\n]}\n");
  fclose(file);
}

// Every loss in two types, class ids, with its gradient and alone, at sizes from small to large. Prints
// a table.
inline void TimeAll(uint64_t seed, const std::string& json_path) {
  const int64_t shapes[][2] = {
      {128, 10}, {512, 1000}, {4096, 8142}, {100000, 80}, {1000000, 10}};
  const char* const floats[] = {"float32", "bfloat16"};
  cudaDeviceProp device;
  Require(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  printf("\n%s: microseconds per call, bytes read and written once per second, and the time of a "
         "device-to-device copy of as many bytes over the kernel's\n",
         device.name);
  printf("%-13s %-8s %-8s %7s %7s %10s %10s %8s %6s\n", "loss", "type", "gradient", "rows",
         "classes", "us", "copy us", "GB/s", "ratio");
  std::vector<Timing> timings;
  const auto add = [&](const Timing& timing) {
    if (!timing.adjusted) timings.push_back(timing);
    printf("%-13s %-8s %-8s %7lld %7lld %10.2f %10.2f %8.0f %6.2f\n",
           timing.adjusted ? "adjusted" : CbkLossName(timing.what.loss),
           floats[timing.what.float_type], timing.what.gradient ? "yes" : "no", static_cast<long long>(timing.what.rows),
           static_cast<long long>(timing.what.classes), timing.microseconds,
           timing.copy_microseconds, timing.GigabytesPerSecond(), timing.RatioToCopy());
    fflush(stdout);
    if (!json_path.empty()) WriteJson(json_path, device.name, timings);  // what there is so far
  };
  for (const auto& shape : shapes) {
    for (const int type : {int{kCbkFloat32}, int{kCbkBfloat16}}) {
      TimeLosses({0, type, kCbkInt32, true, kNoUpstream, shape[0], shape[1], 1.0f, seed},
                 device.l2CacheSize, add);
    }
  }
}

}  // namespace check
}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CHECK_CUDA_TIMING_H_
