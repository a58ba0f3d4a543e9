// The ops' kernels: they check the inputs, describe the problem and hand it to the device's code.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "../class_balanced_loss.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/util/work_sharder.h"

#if CBK_CUDA
#include "xla/stream_executor/stream.h"
#endif

namespace cb_keras {
namespace {

using ::tensorflow::DataType;
using ::tensorflow::OpKernel;
using ::tensorflow::OpKernelConstruction;
using ::tensorflow::OpKernelContext;
using ::tensorflow::Tensor;
using ::tensorflow::TensorShape;

template <typename... Parts>
absl::Status InvalidArgument(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

int FloatType(DataType type) {
  if (type == tensorflow::DT_FLOAT) return kCbkFloat32;
  return type == tensorflow::DT_BFLOAT16 ? kCbkBfloat16 : kCbkFloat16;
}

int LabelsType(DataType type, bool multi_hot) {
  switch (type) {
    case tensorflow::DT_INT32:
      return kCbkInt32;
    case tensorflow::DT_INT64:
      return kCbkInt64;
    case tensorflow::DT_UINT64:
      return kCbkUint64;
    case tensorflow::DT_FLOAT:
      return multi_hot ? kCbkMultiHot : kCbkFloatIds;
    default:
      return kCbkDoubleIds;
  }
}

// The gradient of a mean over the rows, of which that many replicas have as many, to the last bit as
// TensorFlow computes it.
float MeanUpstream(int64_t rows, int64_t replicas) {
  const float mean = 1.0f / static_cast<float>(rows);
  return replicas > 1 ? mean / static_cast<float>(replicas) : mean;
}

template <typename Device>
absl::Status GetMeanReplicas(OpKernelConstruction* ctx, int64_t* replicas) {
  TF_RETURN_IF_ERROR(ctx->GetAttr("mean_replicas", replicas));
  if (*replicas < 0 || (*replicas > 0 && !Device::kReadsHostMemory)) {
    return InvalidArgument("mean_replicas must be ",
                           Device::kReadsHostMemory ? ">= 0" : "0 on a GPU", ", got ", *replicas,
                           ".");
  }
  return absl::OkStatus();
}

// In the fewest digits that say which number it is.
template <typename T>
std::string FloatText(T value) {
  char text[40];
  for (int digits = 6; digits <= 17; ++digits) {
    std::snprintf(text, sizeof(text), "%.*g", digits, static_cast<double>(value));
    if (static_cast<T>(std::strtod(text, nullptr)) == value) break;
  }
  return text;
}

std::string LabelText(const CbkProblem& problem, int64_t row) {
  switch (problem.labels_type) {
    case kCbkInt32:
      return absl::StrCat(static_cast<const int32_t*>(problem.labels)[row]);
    case kCbkInt64:
      return absl::StrCat(static_cast<const int64_t*>(problem.labels)[row]);
    case kCbkUint64:
      return absl::StrCat(static_cast<const uint64_t*>(problem.labels)[row]);
    case kCbkFloatIds:
      return FloatText(static_cast<const float*>(problem.labels)[row]);
  }
  return FloatText(static_cast<const double*>(problem.labels)[row]);
}

template <typename T>
bool StartAtOne(const CbkProblem& problem) {
  const T* labels = static_cast<const T*>(problem.labels);
  const auto [smallest, largest] = std::minmax_element(labels, labels + problem.rows);
  return *smallest >= 1 && *largest == static_cast<T>(problem.classes);
}

// What invalid labels may be; the words are those of checks/class_ids.py, which looks at the labels
// where the op does not.
std::string Hint(const CbkProblem& problem) {
  bool from_one = false;
  switch (problem.labels_type) {
    case kCbkInt32:
      from_one = StartAtOne<int32_t>(problem);
      break;
    case kCbkInt64:
      from_one = StartAtOne<int64_t>(problem);
      break;
    case kCbkUint64:
      from_one = StartAtOne<uint64_t>(problem);
      break;
    case kCbkFloatIds:
      from_one = StartAtOne<float>(problem);
      break;
    default:
      from_one = StartAtOne<double>(problem);
  }
  if (from_one) return " Labels start at 1? Then take 1 off: labels - 1.";
  return " Where it marks examples that do not count, give it as `ignore_class`, or a "
         "`sample_weight` of 0.";
}

// What is wrong with the multi-hot labels where a loss is NaN, or "". Labels are many: they are looked
// at only then. The words are those of checks/multi_hot.py.
std::string InvalidMultiHot(const CbkProblem& problem) {
  const float* const labels = static_cast<const float*>(problem.labels);
  const float* const end = labels + problem.rows * problem.classes;
  const float* const found = std::find_if(labels, end, [](float label) {
    return !(label >= 0.0f && label <= kCbkLargestLabel);
  });
  if (found == end) return "";
  const char* hint =
      " Where the label of an example is not known, give the example a `sample_weight` of 0.";
  if (std::all_of(labels, end, [](float label) { return std::fabs(label) == 1.0f; })) {
    hint = " Labels are -1/1? Then give (labels + 1) / 2.";
  } else if (std::all_of(labels, end, [](float x) { return x == 1.0f || x == 2.0f; })) {
    hint = " Labels are 1/2? Then give labels - 1.";
  }
  const int64_t place = found - labels;
  return absl::StrCat("`y_true` holds ", FloatText(*found), " at position [",
                      place / problem.classes, ", ", place % problem.classes,
                      "]: multi-hot labels are 0 or 1, or soft ones in between.", hint);
}

// A CbkParallelFor on TensorFlow's own threads.
void OnThreadsOf(void* pool, int64_t n, int64_t cost, CbkBody body, void* work) {
  const auto& workers = *static_cast<const tensorflow::DeviceBase::CpuWorkerThreads*>(pool);
  tensorflow::Shard(workers.num_threads, workers.workers, n, cost,
                    [&](int64_t begin, int64_t end) { body(work, begin, end); });
}

struct OnCpu {
  static constexpr bool kReadsHostMemory = true;

  static void* PoolOf(OpKernelContext* ctx) {
    return const_cast<tensorflow::DeviceBase::CpuWorkerThreads*>(
        ctx->device()->tensorflow_cpu_worker_threads());
  }

  static void Loss(OpKernelContext* ctx, const CbkProblem& problem) {
    const int64_t row = CbkCpuLoss(&problem, OnThreadsOf, PoolOf(ctx));
    // The outputs of an op that fails are not used.
    OP_REQUIRES(ctx, row < 0,
                InvalidArgument("`y_true` holds ", LabelText(problem, row), " at position [", row,
                                "], which is not a class: with ", problem.classes,
                                " outputs a class id is a whole number in [0, ", problem.classes,
                                ").", Hint(problem)));
    if (problem.labels_type != kCbkMultiHot || CbkOfSoftmax(problem.loss)) return;
    if (std::none_of(problem.losses, problem.losses + problem.rows,
                     [](float loss) { return std::isnan(loss); })) {
      return;
    }
    const std::string wrong = InvalidMultiHot(problem);
    OP_REQUIRES(ctx, wrong.empty(), InvalidArgument(wrong));
  }

  static void Scale(OpKernelContext* ctx, const CbkScaling& scaling) {
    CbkCpuScale(&scaling, OnThreadsOf, PoolOf(ctx));
  }

  // Whether the result is the input, known before any work is done.
  static bool Nothing(const CbkScaling& scaling) { return CbkCpuScalesNothing(&scaling); }

  static void Copy(OpKernelContext* ctx, void* to, const void* from, int64_t bytes) {
    (void)ctx;
    std::memcpy(to, from, bytes);
  }
};

#if CBK_CUDA
struct OnGpu {
  static constexpr bool kReadsHostMemory = false;

  static stream_executor::Stream* StreamOf(OpKernelContext* ctx) {
    return ctx->op_device_context()->stream();
  }

  static void Check(OpKernelContext* ctx, int error) {
    OP_REQUIRES(ctx, error == 0,
                absl::InternalError(
                    absl::StrCat("class-balanced loss on the GPU: ", CbkCudaErrorString(error))));
  }

  static void Loss(OpKernelContext* ctx, const CbkProblem& problem) {
    Check(ctx, CbkCudaLoss(&problem, StreamOf(ctx)->platform_specific_handle().stream));
  }

  static void Scale(OpKernelContext* ctx, const CbkScaling& scaling) {
    Check(ctx, CbkCudaScale(&scaling, StreamOf(ctx)->platform_specific_handle().stream));
  }

  static bool Nothing(const CbkScaling&) { return false; }  // the factors are on the device

  static void Copy(OpKernelContext* ctx, void* to, const void* from, int64_t bytes) {
    stream_executor::DeviceAddressBase target(to, bytes), source(const_cast<void*>(from), bytes);
    OP_REQUIRES_OK(ctx, StreamOf(ctx)->MemcpyD2D(&target, source, bytes));
  }
};
#endif

template <typename Device, bool kGradient>
class LossOp : public OpKernel {
 public:
  explicit LossOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    std::string loss;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("loss", &loss));
    loss_ = CbkLossOfName(loss.c_str());
    OP_REQUIRES(ctx, loss_ >= 0, InvalidArgument("there is no loss ", loss, "."));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("label_smoothing", &label_smoothing_));
    OP_REQUIRES(ctx, label_smoothing_ >= 0.0f && label_smoothing_ <= 1.0f,
                InvalidArgument("label_smoothing must be in [0, 1], got ", label_smoothing_, "."));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("ignores", &ignores_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("ignore_class", &ignore_class_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("adjusts", &adjusts_));
    if (kGradient) OP_REQUIRES_OK(ctx, GetMeanReplicas<Device>(ctx, &mean_replicas_));
  }

  void Compute(OpKernelContext* ctx) override {
    CbkProblem problem = {};
    problem.loss = loss_;
    problem.label_smoothing = label_smoothing_;
    problem.ignores = ignores_;
    problem.ignore_class = ignore_class_;
    OP_REQUIRES_OK(ctx, Describe(ctx, &problem));
    Tensor* losses;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({problem.rows}), &losses));
    problem.losses = losses->flat<float>().data();
    if (kGradient) {
      Tensor* gradient;
      OP_REQUIRES_OK(ctx, ctx->allocate_output(1, ctx->input(0).shape(), &gradient));
      problem.gradient = gradient->data();
    }
    const float mean = MeanUpstream(problem.rows, mean_replicas_);
    if (mean_replicas_ > 0) {
      problem.upstream = &mean;
      problem.upstream_is_scalar = true;
    }
    if (problem.rows > 0) Device::Loss(ctx, problem);
  }

 private:
  absl::Status Describe(OpKernelContext* ctx, CbkProblem* problem) const {
    const Tensor &logits = ctx->input(0), &labels = ctx->input(1);
    const Tensor &weights = ctx->input(2), &gamma = ctx->input(3);
    if (logits.dims() != 2 || logits.dim_size(1) < 1) {
      return InvalidArgument("logits must be [N, C] with C >= 1, got shape ",
                             logits.shape().DebugString(), ".");
    }
    problem->rows = logits.dim_size(0);
    problem->classes = logits.dim_size(1);
    problem->float_type = FloatType(logits.dtype());
    problem->logits = logits.data();
    const bool multi_hot = labels.dtype() == tensorflow::DT_FLOAT && labels.dims() != 1;
    const TensorShape expected = multi_hot ? logits.shape() : TensorShape({problem->rows});
    if (labels.shape() != expected) {
      return InvalidArgument("labels must have shape ", expected.DebugString(), ", got ",
                             labels.shape().DebugString(), " for logits of shape ",
                             logits.shape().DebugString(), ".");
    }
    if (multi_hot && ignores_) {
      return InvalidArgument("only class ids can be ignored, got labels of shape ",
                             labels.shape().DebugString(), ".");
    }
    problem->labels_type = LabelsType(labels.dtype(), multi_hot);
    problem->labels = labels.data();
    if (const char* why = CbkRefusedAdjustments(loss_, multi_hot, adjusts_)) {
      return InvalidArgument("adjusts is ", adjusts_, ", but ", why, ".");
    }
    TensorShape of_classes({problem->classes});
    if (adjusts_) of_classes.InsertDim(0, CbkClassArrays(adjusts_));
    if (weights.shape() != of_classes) {
      return InvalidArgument("class_weights must have shape ", of_classes.DebugString(), ", got ",
                             weights.shape().DebugString(), " for logits of shape ",
                             logits.shape().DebugString(), ".");
    }
    CbkSetClassArrays(problem, weights.flat<float>().data(), adjusts_);
    if (gamma.dims() != 0) {
      return InvalidArgument("gamma must be a scalar, got shape ", gamma.shape().DebugString(),
                             ".");
    }
    problem->gamma = gamma.scalar<float>()();
    if (!(problem->gamma >= 0.0f && std::isfinite(problem->gamma))) {
      return InvalidArgument("gamma must be finite and >= 0, got ", problem->gamma, ".");
    }
    return kGradient ? DescribeUpstream(ctx->input(4), problem) : absl::OkStatus();
  }

  static absl::Status DescribeUpstream(const Tensor& upstream, CbkProblem* problem) {
    problem->upstream_is_scalar = upstream.dims() == 0;
    if (!problem->upstream_is_scalar && upstream.shape() != TensorShape({problem->rows})) {
      return InvalidArgument("upstream must be a scalar or have shape [", problem->rows,
                             "], got ", upstream.shape().DebugString(), ".");
    }
    problem->upstream = upstream.flat<float>().data();
    return absl::OkStatus();
  }

  int loss_;
  float label_smoothing_ = 0.0f;
  bool ignores_ = false;
  int64_t ignore_class_ = 0, adjusts_ = 0, mean_replicas_ = 0;
};

template <typename Device>
class ScaleRowsOp : public OpKernel {
 public:
  explicit ScaleRowsOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, GetMeanReplicas<Device>(ctx, &mean_replicas_));
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor &values = ctx->input(0), &upstream = ctx->input(1), &applied = ctx->input(2);
    OP_REQUIRES(ctx, values.dims() == 2,
                InvalidArgument("values must be [N, C], got shape ",
                                values.shape().DebugString(), "."));
    const TensorShape rows({values.dim_size(0)});
    OP_REQUIRES(ctx, upstream.shape() == rows && (applied.dims() == 0 || applied.shape() == rows),
                InvalidArgument("upstream must have shape ", rows.DebugString(),
                                " and applied that or (), got ", upstream.shape().DebugString(),
                                " and ", applied.shape().DebugString(), "."));
    CbkScaling scaling = {};
    scaling.float_type = FloatType(values.dtype());
    scaling.rows = values.dim_size(0);
    scaling.classes = values.dim_size(1);
    scaling.upstream = upstream.flat<float>().data();
    scaling.applied = applied.flat<float>().data();
    scaling.applied_is_scalar = applied.dims() == 0;
    const float mean = MeanUpstream(scaling.rows, mean_replicas_);
    if (mean_replicas_ > 0) {
      scaling.applied = &mean;
      scaling.applied_is_scalar = true;
    }
    if (values.NumElements() == 0 || Device::Nothing(scaling)) {
      ctx->set_output(0, values);
      return;
    }
    Tensor* scaled;
    OP_REQUIRES_OK(ctx,
                   ctx->forward_input_or_allocate_output({0}, 0, values.shape(), &scaled));
    if (scaled->data() != values.data()) {
      Device::Copy(ctx, scaled->data(), values.data(), values.TotalBytes());
      if (!ctx->status().ok()) return;
    }
    scaling.values = scaled->data();
    Device::Scale(ctx, scaling);
  }

 private:
  int64_t mean_replicas_ = 0;
};

#define REGISTER_ON(device, Kernels, T)                                                         \
  REGISTER_KERNEL_BUILDER(                                                                      \
      Name("CbKerasLoss").Device(device).TypeConstraint<T>("T").HostMemory("gamma"),            \
      LossOp<Kernels, false>);                                                                  \
  REGISTER_KERNEL_BUILDER(                                                                      \
      Name("CbKerasLossAndGradient").Device(device).TypeConstraint<T>("T").HostMemory("gamma"), \
      LossOp<Kernels, true>);                                                                   \
  REGISTER_KERNEL_BUILDER(Name("CbKerasScaleRows").Device(device).TypeConstraint<T>("T"),       \
                          ScaleRowsOp<Kernels>)

REGISTER_ON(tensorflow::DEVICE_CPU, OnCpu, float);
REGISTER_ON(tensorflow::DEVICE_CPU, OnCpu, tensorflow::bfloat16);
REGISTER_ON(tensorflow::DEVICE_CPU, OnCpu, Eigen::half);
#if CBK_CUDA
REGISTER_ON(tensorflow::DEVICE_GPU, OnGpu, float);
REGISTER_ON(tensorflow::DEVICE_GPU, OnGpu, tensorflow::bfloat16);
REGISTER_ON(tensorflow::DEVICE_GPU, OnGpu, Eigen::half);
#endif

}  // namespace
}  // namespace cb_keras
