// Rows so far behind the first that 32 bits can't count the elements before them. Their arrays are
// reserved, but nobody touches more than the last rows, so no memory is needed for the rest. (On a
// GPU all rows are worked on, see FarDeviceArray.)

#ifndef CB_KERAS_OPS_CHECK_FAR_ROWS_H_
#define CB_KERAS_OPS_CHECK_FAR_ROWS_H_

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <vector>

#include "compare.h"
#include "problem.h"

namespace cb_keras {
namespace check {

// `bytes` bytes of which the last are `end`, and the others 0.
class FarArray {
 public:
  FarArray(int64_t bytes, const std::vector<unsigned char>& end)
      : mapped_(static_cast<size_t>(bytes) + 1), size_(end.size()) {
    void* const memory = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
      perror("mmap of what is only reserved (see ulimit -v and vm.overcommit_memory)");
      exit(1);
    }
    memory_ = static_cast<unsigned char*>(memory);
    if (size_ > 0) memcpy(End(), end.data(), size_);
  }
  ~FarArray() { munmap(memory_, mapped_); }
  FarArray(const FarArray&) = delete;
  FarArray& operator=(const FarArray&) = delete;

  void* data() const { return memory_; }
  std::vector<unsigned char> Contents() const {
    return std::vector<unsigned char>(End(), End() + size_);
  }

 private:
  unsigned char* End() const { return memory_ + (mapped_ - 1 - size_); }

  size_t mapped_, size_;
  unsigned char* memory_;
};

inline std::vector<unsigned char> BytesOf(const std::vector<float>& floats) {
  std::vector<unsigned char> bytes(floats.size() * sizeof(float));
  if (!bytes.empty()) memcpy(bytes.data(), floats.data(), bytes.size());
  return bytes;
}

// Checks the rows of `what` as the last of `rows` rows. `run(problem, begin)` is to work on the
// rows from `begin` on, at least.
template <typename Array = FarArray, typename Run>
void CheckFarLoss(const Case& what, int64_t rows, const Run& run, Report* report) {
  const HostProblem host = MakeProblem(what);
  const int64_t element = FloatBytes(what.float_type), elements = rows * what.classes;
  const bool multi_hot = what.labels_type == kCbkMultiHot;
  const size_t near_elements = static_cast<size_t>(what.rows * what.classes);
  const auto untouched = [](size_t bytes) { return std::vector<unsigned char>(bytes, kPoison); };
  const Array logits(elements * element, host.logits);
  const Array labels((multi_hot ? elements : rows) * LabelBytes(what.labels_type), host.labels);
  const auto of_class = [](const std::vector<float>& values) {
    return Array(static_cast<int64_t>(4 * values.size()), BytesOf(values));
  };
  const ClassArrays<Array> of_classes = {of_class(host.class_weights), of_class(host.factor),
                                         of_class(host.offset), of_class(host.margin)};
  const Array upstream((what.upstream == kRowUpstream ? rows : 1) * 4, BytesOf(host.upstream));
  const Array losses(rows * 4, untouched(static_cast<size_t>(what.rows) * 4));
  const Array gradient(elements * element,
                       untouched(near_elements * static_cast<size_t>(element)));
  CbkProblem problem = ProblemIn(what, logits, labels, of_classes, upstream, losses, gradient);
  problem.rows = rows;
  run(problem, rows - what.rows);

  Output output;
  output.losses = AsFloats(losses.Contents());
  output.gradient = gradient.Contents();
  CompareOutput(host, output, report);
}

// The same for a scaling; `run(scaling, begin)`.
template <typename Array = FarArray, typename Run>
void CheckFarScale(const ScaleCase& what, int64_t rows, const Run& run, Report* report) {
  const HostScaling host = MakeScaling(what);
  const Array values(rows * what.classes * FloatBytes(what.float_type), host.values);
  const Array upstream(rows * 4, BytesOf(host.upstream));
  const Array applied((what.applied_is_scalar ? 1 : rows) * 4, BytesOf(host.applied));
  const CbkScaling scaling = {what.float_type,
                              rows,
                              what.classes,
                              static_cast<const float*>(upstream.data()),
                              static_cast<const float*>(applied.data()),
                              what.applied_is_scalar,
                              values.data()};
  run(scaling, rows - what.rows);
  CompareScaled(host, values.Contents(), true, report);
}

}  // namespace check
}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CHECK_FAR_ROWS_H_
