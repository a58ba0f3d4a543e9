// Runs the CUDA kernels on random problems and compares what they give with the reference.

#ifndef CB_KERAS_OPS_CHECK_CUDA_KERNELS_H_
#define CB_KERAS_OPS_CHECK_CUDA_KERNELS_H_

#include <stdint.h>

#include <vector>

#include "../class_balanced_loss.h"
#include "compare.h"
#include "cuda_memory.h"

namespace cb_keras {
namespace check {

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
  const int64_t labels_shift = shift(3) * LabelBytes(what.labels_type);

  const auto bytes = [](const auto& array) {
    return static_cast<int64_t>(array.size() * sizeof(array[0]));
  };
  DeviceArray logits(DeviceArray::kInput, bytes(host.logits), logits_shift);
  DeviceArray labels(DeviceArray::kInput, bytes(host.labels), labels_shift);
  const auto of_class = [&](const std::vector<float>& values, uint64_t index) {
    return DeviceArray(DeviceArray::kInput, bytes(values), 4 * shift(index));
  };
  const ClassArrays<DeviceArray> of_classes = {of_class(host.class_weights, 4),
                                               of_class(host.factor, 7), of_class(host.offset, 8),
                                               of_class(host.margin, 9)};
  DeviceArray upstream(DeviceArray::kInput, bytes(host.upstream), 4 * shift(5));
  DeviceArray losses(DeviceArray::kOutput, 4 * what.rows, 4 * shift(6));
  DeviceArray gradient(DeviceArray::kOutput, what.gradient ? size * count : 0, gradient_shift);
  logits.Upload(host.logits.data());
  labels.Upload(host.labels.data());
  of_classes.weights.Upload(host.class_weights.data());
  of_classes.factor.Upload(host.factor.data());
  of_classes.offset.Upload(host.offset.data());
  of_classes.margin.Upload(host.margin.data());
  upstream.Upload(host.upstream.data());

  const CbkProblem problem =
      ProblemIn(what, logits, labels, of_classes, upstream, losses, gradient);
  Require(CbkCudaLoss(&problem, nullptr), "CbkCudaLoss");
  Require(cudaDeviceSynchronize(), "running CbkCudaLoss");

  Output output;
  output.losses = AsFloats(losses.Download(&output.guards_hold));
  output.gradient = gradient.Download(&output.guards_hold);
  return output;
}

inline void CheckLoss(const Case& what, Report* report) {
  const HostProblem host = MakeProblem(what);
  CompareOutput(host, RunLoss(host), report);
}

inline void CheckScale(const ScaleCase& what, Report* report) {
  const HostScaling host = MakeScaling(what);
  const int64_t size = FloatBytes(what.float_type);
  const int64_t shift = static_cast<int64_t>(Random{what.seed}.Bits(0) % 8);
  DeviceArray values(DeviceArray::kOutput, what.rows * what.classes * size, shift * size);
  DeviceArray upstream(DeviceArray::kInput, 4 * what.rows, 4);
  DeviceArray applied(DeviceArray::kInput, static_cast<int64_t>(4 * host.applied.size()), 8);
  values.Upload(host.values.data());
  upstream.Upload(host.upstream.data());
  applied.Upload(host.applied.data());
  const CbkScaling scaling = {what.float_type,
                              what.rows,
                              what.classes,
                              static_cast<const float*>(upstream.data()),
                              static_cast<const float*>(applied.data()),
                              what.applied_is_scalar,
                              values.data()};
  Require(CbkCudaScale(&scaling, nullptr), "CbkCudaScale");
  Require(cudaDeviceSynchronize(), "running CbkCudaScale");
  bool guards_hold = true;
  const std::vector<unsigned char> after = values.Download(&guards_hold);
  CompareScaled(host, after, guards_hold, report);
}

}  // namespace check
}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CHECK_CUDA_KERNELS_H_
