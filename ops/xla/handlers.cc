// The doors for XLA, which JAX and TensorFlow compile with: typed FFI handlers of the C functions in
// class_balanced_loss.h. They check what they are given, describe the problem, and hand it on.
//
//   cb_keras_loss               logits [N, C], labels, class_weights [C] -> losses [N]
//   cb_keras_loss_and_gradient  the same and upstream [N] or [] -> losses [N], gradient [N, C]
//   cb_keras_scale_rows         values [N, C], upstream [N], applied [N] or [] -> scaled [N, C],
//                               which may be values itself
//
// Labels are class ids [N] (s32, s64, u64, f32, f64) or multi-hot [N, C] (f32). Attributes of the
// losses: loss (a CbkLoss, i64), gamma (f32), label_smoothing (f32), ignores (0 or 1, i64),
// ignore_class (i64), adjusts (of CbkAdjustment, i64): where it is not 0 the class weights are
// [1 + n, C], with the n arrays that it names after them. Invalid class ids make NaN: XLA has no way to say which label it was.
//
// A runtime takes handlers whose FFI API is as old as its own or older, and does not start at all
// with newer ones, so that the headers are those of the oldest runtime: see CbkXlaApiVersion.

#include <cmath>
#include <cstring>
#include <string>

#include "../class_balanced_loss.h"
#include "threads.h"
#include "xla/ffi/api/ffi.h"

namespace cb_keras {
namespace {

namespace ffi = ::xla::ffi;
using ffi::AnyBuffer;
using ffi::DataType;
using ffi::Error;
using Result = ffi::Result<AnyBuffer>;

std::string ShapeText(const AnyBuffer& buffer) {
  std::string text = "[";
  for (const int64_t size : buffer.dimensions()) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(size);
  }
  return text + "]";
}

Error Refused(const char* name, const char* expected, const AnyBuffer& got) {
  return Error::InvalidArgument(std::string("cb_keras: `") + name + "` must be " + expected +
                                ", got shape " + ShapeText(got) + " and the element type " +
                                std::to_string(static_cast<int>(got.element_type())) +
                                " of XLA's FFI.");
}

// A CbkFloat, or -1.
int FloatType(DataType type) {
  switch (type) {
    case DataType::F32:
      return kCbkFloat32;
    case DataType::BF16:
      return kCbkBfloat16;
    case DataType::F16:
      return kCbkFloat16;
    default:
      return -1;
  }
}

// A CbkLabels, or -1.
int LabelsType(DataType type, bool multi_hot) {
  if (multi_hot) return type == DataType::F32 ? kCbkMultiHot : -1;
  switch (type) {
    case DataType::S32:
      return kCbkInt32;
    case DataType::S64:
      return kCbkInt64;
    case DataType::U64:
      return kCbkUint64;
    case DataType::F32:
      return kCbkFloatIds;
    case DataType::F64:
      return kCbkDoubleIds;
    default:
      return -1;
  }
}

bool IsMatrix(const AnyBuffer& buffer, int64_t rows, int64_t columns) {
  const auto sizes = buffer.dimensions();
  return sizes.size() == 2 && sizes[0] == rows && sizes[1] == columns;
}

bool IsFloats(const AnyBuffer& buffer, int64_t size) {
  const auto sizes = buffer.dimensions();
  return buffer.element_type() == DataType::F32 && sizes.size() == 1 && sizes[0] == size;
}

bool IsFloat(const AnyBuffer& buffer) {
  return buffer.element_type() == DataType::F32 && buffer.dimensions().size() == 0;
}

float* Floats(const AnyBuffer& buffer) { return static_cast<float*>(buffer.untyped_data()); }

struct Attributes {
  int64_t loss;
  float gamma;
  float label_smoothing;
  int64_t ignores;
  int64_t ignore_class;
  int64_t adjusts;

  Error Check() const {
    if (loss < 0 || loss >= kCbkLossCount) {
      return Error::InvalidArgument("cb_keras: there is no loss of number " +
                                    std::to_string(loss) + ".");
    }
    if (!(gamma >= 0.0f && std::isfinite(gamma))) {
      return Error::InvalidArgument("cb_keras: gamma must be finite and >= 0, got " +
                                    std::to_string(gamma) + ".");
    }
    if (!(label_smoothing >= 0.0f && label_smoothing <= 1.0f)) {
      return Error::InvalidArgument("cb_keras: label_smoothing must be in [0, 1], got " +
                                    std::to_string(label_smoothing) + ".");
    }
    return Error::Success();
  }
};

Error DescribeLoss(const Attributes& attributes, const AnyBuffer& logits, const AnyBuffer& labels,
                   const AnyBuffer& weights, const AnyBuffer& losses, CbkProblem* problem) {
  if (Error error = attributes.Check(); error.failure()) return error;
  const auto sizes = logits.dimensions();
  problem->float_type = FloatType(logits.element_type());
  if (sizes.size() != 2 || sizes[1] < 1 || problem->float_type < 0) {
    return Refused("logits", "[N, C] with C >= 1, of f32, bf16 or f16", logits);
  }
  problem->rows = sizes[0];
  problem->classes = sizes[1];
  const bool multi_hot = labels.dimensions().size() == 2;
  problem->labels_type = LabelsType(labels.element_type(), multi_hot);
  if (problem->labels_type < 0 ||
      !(multi_hot ? IsMatrix(labels, problem->rows, problem->classes)
                  : labels.dimensions().size() == 1 && labels.dimensions()[0] == problem->rows)) {
    return Refused("labels", "class ids [N] of s32, s64, u64, f32 or f64, or [N, C] of f32",
                   labels);
  }
  if (multi_hot && attributes.ignores) {
    return Refused("labels", "class ids where a class is ignored", labels);
  }
  problem->loss = static_cast<int>(attributes.loss);
  const int64_t adjusts = attributes.adjusts;
  if (const char* why = CbkRefusedAdjustments(problem->loss, multi_hot, adjusts)) {
    return Error::InvalidArgument(std::string("cb_keras: ") + why + ".");
  }
  const bool fits = adjusts ? weights.element_type() == DataType::F32 &&
                                  IsMatrix(weights, CbkClassArrays(adjusts), problem->classes)
                            : IsFloats(weights, problem->classes);
  if (!fits) return Refused("class_weights", "[C] or, with adjustments, [1 + n, C] of f32", weights);
  if (!IsFloats(losses, problem->rows)) return Refused("losses", "[N] of f32", losses);
  problem->gamma = attributes.gamma;
  problem->label_smoothing = attributes.label_smoothing;
  problem->ignores = attributes.ignores != 0;
  problem->ignore_class = attributes.ignore_class;
  problem->logits = logits.untyped_data();
  problem->labels = labels.untyped_data();
  CbkSetClassArrays(problem, Floats(weights), adjusts);
  problem->losses = Floats(losses);
  return Error::Success();
}

Error DescribeGradient(const AnyBuffer& logits, const AnyBuffer& upstream,
                       const AnyBuffer& gradient, CbkProblem* problem) {
  problem->upstream_is_scalar = IsFloat(upstream);
  if (!problem->upstream_is_scalar && !IsFloats(upstream, problem->rows)) {
    return Refused("upstream", "[N] or a scalar, of f32", upstream);
  }
  if (gradient.element_type() != logits.element_type() ||
      !IsMatrix(gradient, problem->rows, problem->classes)) {
    return Refused("gradient", "of the shape and type of the logits", gradient);
  }
  problem->upstream = Floats(upstream);
  problem->gradient = gradient.untyped_data();
  return Error::Success();
}

Error DescribeScaling(const AnyBuffer& values, const AnyBuffer& upstream, const AnyBuffer& applied,
                      const AnyBuffer& scaled, CbkScaling* scaling) {
  const auto sizes = values.dimensions();
  scaling->float_type = FloatType(values.element_type());
  if (sizes.size() != 2 || sizes[1] < 1 || scaling->float_type < 0) {
    return Refused("values", "[N, C] with C >= 1, of f32, bf16 or f16", values);
  }
  scaling->rows = sizes[0];
  scaling->classes = sizes[1];
  if (scaled.element_type() != values.element_type() ||
      !IsMatrix(scaled, scaling->rows, scaling->classes)) {
    return Refused("scaled", "of the shape and type of the values", scaled);
  }
  if (!IsFloats(upstream, scaling->rows)) return Refused("upstream", "[N] of f32", upstream);
  scaling->applied_is_scalar = IsFloat(applied);
  if (!scaling->applied_is_scalar && !IsFloats(applied, scaling->rows)) {
    return Refused("applied", "[N] or a scalar, of f32", applied);
  }
  scaling->upstream = Floats(upstream);
  scaling->applied = Floats(applied);
  scaling->values = scaled.untyped_data();
  return Error::Success();
}

struct OnCpu {
  using Context = ffi::ThreadPool;

  static Error Loss(const CbkProblem& problem, ffi::ThreadPool& threads) {
    CbkCpuLoss(&problem, OnThreadsOf, &threads);
    return Error::Success();
  }

  static Error Scale(const CbkScaling& scaling, const void* values, ffi::ThreadPool& threads) {
    if (values != scaling.values) {
      std::memcpy(scaling.values, values, Bytes(scaling));
    }
    if (!CbkCpuScalesNothing(&scaling)) CbkCpuScale(&scaling, OnThreadsOf, &threads);
    return Error::Success();
  }

  static int64_t Bytes(const CbkScaling& scaling) {
    return scaling.rows * scaling.classes * (scaling.float_type == kCbkFloat32 ? 4 : 2);
  }
};

template <typename Device>
Error Loss(typename Device::Context context, AnyBuffer logits, AnyBuffer labels, AnyBuffer weights,
           Result losses, int64_t loss, float gamma, float label_smoothing, int64_t ignores,
           int64_t ignore_class, int64_t adjusts) {
  const Attributes attributes = {loss, gamma, label_smoothing, ignores, ignore_class, adjusts};
  CbkProblem problem = {};
  if (Error error = DescribeLoss(attributes, logits, labels, weights, *losses, &problem);
      error.failure()) {
    return error;
  }
  return problem.rows > 0 ? Device::Loss(problem, context) : Error::Success();
}

template <typename Device>
Error LossAndGradient(typename Device::Context context, AnyBuffer logits, AnyBuffer labels,
                      AnyBuffer weights, AnyBuffer upstream, Result losses, Result gradient,
                      int64_t loss, float gamma, float label_smoothing, int64_t ignores,
                      int64_t ignore_class, int64_t adjusts) {
  const Attributes attributes = {loss, gamma, label_smoothing, ignores, ignore_class, adjusts};
  CbkProblem problem = {};
  Error error = DescribeLoss(attributes, logits, labels, weights, *losses, &problem);
  if (error.success()) error = DescribeGradient(logits, upstream, *gradient, &problem);
  if (error.failure()) return error;
  return problem.rows > 0 ? Device::Loss(problem, context) : Error::Success();
}

template <typename Device>
Error ScaleRows(typename Device::Context context, AnyBuffer values, AnyBuffer upstream,
                AnyBuffer applied, Result scaled) {
  CbkScaling scaling = {};
  if (Error error = DescribeScaling(values, upstream, applied, *scaled, &scaling);
      error.failure()) {
    return error;
  }
  if (scaling.rows == 0) return Error::Success();
  return Device::Scale(scaling, values.untyped_data(), context);
}

template <typename Binding>
auto WithAttributes(Binding&& binding) {
  return std::forward<Binding>(binding)
      .template Attr<int64_t>("loss")
      .template Attr<float>("gamma")
      .template Attr<float>("label_smoothing")
      .template Attr<int64_t>("ignores")
      .template Attr<int64_t>("ignore_class")
      .template Attr<int64_t>("adjusts");
}

template <typename Context>
auto LossBinding() {
  return WithAttributes(ffi::Ffi::Bind()
                            .Ctx<Context>()
                            .template Arg<AnyBuffer>()
                            .template Arg<AnyBuffer>()
                            .template Arg<AnyBuffer>()
                            .template Ret<AnyBuffer>());
}

template <typename Context>
auto LossAndGradientBinding() {
  return WithAttributes(ffi::Ffi::Bind()
                            .Ctx<Context>()
                            .template Arg<AnyBuffer>()
                            .template Arg<AnyBuffer>()
                            .template Arg<AnyBuffer>()
                            .template Arg<AnyBuffer>()
                            .template Ret<AnyBuffer>()
                            .template Ret<AnyBuffer>());
}

template <typename Context>
auto ScaleRowsBinding() {
  return ffi::Ffi::Bind()
      .Ctx<Context>()
      .template Arg<AnyBuffer>()
      .template Arg<AnyBuffer>()
      .template Arg<AnyBuffer>()
      .template Ret<AnyBuffer>();
}

#if CBK_CUDA
// Of the CUDA runtime, whose headers a machine need not have.
extern "C" int cudaMemcpyAsync(void* to, const void* from, size_t bytes, int kind, void* stream);
constexpr int kDeviceToDevice = 3;

struct OnGpu {
  using Context = void*;  // a cudaStream_t

  static Error Check(int error) {
    if (error == 0) return Error::Success();
    return Error::Internal(std::string("class-balanced loss on the GPU: ") +
                           CbkCudaErrorString(error));
  }

  static Error Loss(const CbkProblem& problem, void* stream) {
    return Check(CbkCudaLoss(&problem, stream));
  }

  static Error Scale(const CbkScaling& scaling, const void* values, void* stream) {
    if (values != scaling.values) {
      const int error = cudaMemcpyAsync(scaling.values, values, OnCpu::Bytes(scaling),
                                        kDeviceToDevice, stream);
      if (error != 0) return Check(error);
    }
    return Check(CbkCudaScale(&scaling, stream));
  }
};
#endif

}  // namespace
}  // namespace cb_keras

#pragma GCC visibility push(default)

// The version of the FFI API that the handlers are of: 1000 * major + minor.
extern "C" int CbkXlaApiVersion() { return 1000 * XLA_FFI_API_MAJOR + XLA_FFI_API_MINOR; }

XLA_FFI_DEFINE_HANDLER_SYMBOL(CbkXlaLoss, cb_keras::Loss<cb_keras::OnCpu>,
                              cb_keras::LossBinding<xla::ffi::ThreadPool>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(CbkXlaLossAndGradient, cb_keras::LossAndGradient<cb_keras::OnCpu>,
                              cb_keras::LossAndGradientBinding<xla::ffi::ThreadPool>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(CbkXlaScaleRows, cb_keras::ScaleRows<cb_keras::OnCpu>,
                              cb_keras::ScaleRowsBinding<xla::ffi::ThreadPool>());

#if CBK_CUDA
XLA_FFI_DEFINE_HANDLER_SYMBOL(CbkXlaCudaLoss, cb_keras::Loss<cb_keras::OnGpu>,
                              cb_keras::LossBinding<xla::ffi::PlatformStream<void*>>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(CbkXlaCudaLossAndGradient, cb_keras::LossAndGradient<cb_keras::OnGpu>,
                              cb_keras::LossAndGradientBinding<xla::ffi::PlatformStream<void*>>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(CbkXlaCudaScaleRows, cb_keras::ScaleRows<cb_keras::OnGpu>,
                              cb_keras::ScaleRowsBinding<xla::ffi::PlatformStream<void*>>());
#endif

#pragma GCC visibility pop
