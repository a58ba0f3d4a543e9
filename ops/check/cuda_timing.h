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
  double microseconds, copy_microseconds, bytes;

  double GigabytesPerSecond() const { return bytes / microseconds / 1e3; }
  double RatioToCopy() const { return copy_microseconds / microseconds; }
};

// One problem on the device, and a source and a target for the copy it is compared with.
struct TimedProblem {
  TimedProblem(const HostProblem& host, const std::vector<unsigned char>& copied)
      : logits(DeviceArray::kInput, static_cast<int64_t>(host.logits.size()), 0),
        labels(DeviceArray::kInput, static_cast<int64_t>(host.labels.size()), 0),
        weights(DeviceArray::kInput, 4 * host.what.classes, 0),
        losses(DeviceArray::kInput, 4 * host.what.rows, 0),
        gradient(DeviceArray::kInput, static_cast<int64_t>(host.logits.size()), 0),
        copy_source(DeviceArray::kInput, static_cast<int64_t>(copied.size()), 0),
        copy_target(DeviceArray::kInput, static_cast<int64_t>(copied.size()), 0),
        copy_bytes(copied.size()) {
    logits.Upload(host.logits.data());
    labels.Upload(host.labels.data());
    weights.Upload(host.class_weights.data());
    copy_source.Upload(copied.data());
    problem.loss = host.what.loss;
    problem.float_type = host.what.float_type;
    problem.labels_type = host.what.labels_type;
    problem.rows = host.what.rows;
    problem.classes = host.what.classes;
    problem.logits = logits.data();
    problem.labels = labels.data();
    problem.class_weights = static_cast<const float*>(weights.data());
    problem.gamma = host.what.gamma;
    problem.losses = static_cast<float*>(losses.data());
    problem.gradient = host.what.gradient ? gradient.data() : nullptr;
  }

  void Run() const { Require(CbkCudaLoss(&problem, nullptr), "CbkCudaLoss"); }
  void Copy() const {
    Require(cudaMemcpyAsync(copy_target.data(), copy_source.data(), copy_bytes,
                            cudaMemcpyDeviceToDevice, nullptr),
            "copy");
  }

  DeviceArray logits, labels, weights, losses, gradient, copy_source, copy_target;
  size_t copy_bytes;
  CbkProblem problem = {};
};

// Turns between as many equal problems as exceed the cache several times, up to a limit that only
// the smallest problems meet.
inline Timing TimeLoss(const Case& what, int64_t cache_bytes) {
  const HostProblem host = MakeProblem(what);
  const int64_t bytes = (what.gradient ? 2 : 1) * static_cast<int64_t>(host.logits.size()) +
                        static_cast<int64_t>(host.labels.size()) + 4 * what.rows +
                        4 * what.classes;
  const int64_t sets = std::max<int64_t>(2, std::min<int64_t>(32, 3 * cache_bytes / bytes + 1));
  std::vector<std::unique_ptr<TimedProblem>> problems;
  // A copy reads and writes its bytes: half as many do. Not zeros, which copy faster on some cards.
  std::vector<unsigned char> copied(static_cast<size_t>(bytes / 2));
  for (size_t i = 0; i < copied.size(); ++i) copied[i] = static_cast<unsigned char>(i * 37 >> 3);
  for (int64_t i = 0; i < sets; ++i) problems.emplace_back(new TimedProblem(host, copied));
  const auto turn = [&](int i) -> const TimedProblem& {
    return *problems[static_cast<size_t>(i % sets)];
  };
  Timing timing = {what, 0.0, 0.0, static_cast<double>(bytes)};
  timing.copy_microseconds = MedianMicroseconds([&](int i) { turn(i).Copy(); });
  timing.microseconds = MedianMicroseconds([&](int i) { turn(i).Run(); });
  return timing;
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
  const auto time = [&](const Case& what) {
    timings.push_back(TimeLoss(what, device.l2CacheSize));
    const Timing& timing = timings.back();
    printf("%-13s %-8s %-8s %7lld %7lld %10.2f %10.2f %8.0f %6.2f\n", CbkLossName(what.loss),
           floats[what.float_type], what.gradient ? "yes" : "no",
           static_cast<long long>(what.rows), static_cast<long long>(what.classes),
           timing.microseconds, timing.copy_microseconds, timing.GigabytesPerSecond(),
           timing.RatioToCopy());
    fflush(stdout);
    if (!json_path.empty()) WriteJson(json_path, device.name, timings);  // what there is so far
  };
  for (const bool gradient : {true, false}) {
    for (const auto& shape : shapes) {
      for (int loss = 0; loss < kCbkLossCount; ++loss) {
        for (const int type : {int{kCbkFloat32}, int{kCbkBfloat16}}) {
          time({loss, type, kCbkInt32, gradient, kNoUpstream, shape[0], shape[1], 1.0f, seed});
        }
      }
    }
  }
}

}  // namespace check
}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CHECK_CUDA_TIMING_H_
