// The ops under XLA: each becomes a call of its handler (../xla/handlers.cc), under that one's name.
//
// What this uses of TensorFlow is not public. shim.py leaves it out for versions of which it does
// not know that they have it (CBK_XLA=0), and refusals.cc then speaks for these devices as well.

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "../losses.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "tensorflow/compiler/tf2xla/xla_op_registry.h"
#include "xla/hlo/builder/xla_builder.h"
#include "xla/literal.h"
#include "xla/shape.h"
#include "xla/shape_util.h"

namespace cb_keras {
namespace {

using ::tensorflow::OpKernelConstruction;
using ::tensorflow::XlaOpKernel;
using ::tensorflow::XlaOpKernelContext;
using ::xla::Shape;
using ::xla::ShapeUtil;
using ::xla::XlaOp;
using Aliases = std::vector<std::pair<xla::ShapeIndex, std::pair<int64_t, xla::ShapeIndex>>>;

Shape RowMajor(const Shape& shape) {
  return ShapeUtil::MakeShapeWithDescendingLayout(shape.element_type(), shape.dimensions());
}

// The inputs with their largest sizes. Where a mask or the like makes the number of rows known at
// run time only, XLA has room for as many as there can be; what the rows beyond it hold is not used.
class Rows {
 public:
  Rows(XlaOpKernelContext* ctx, std::vector<const char*> names) : ctx_(ctx) {
    for (const char* name : names) {
      const absl::StatusOr<Shape> shape = ctx->InputXlaShape(name);
      if (!shape.ok()) {
        ctx->SetStatus(shape.status());
        return;
      }
      XlaOp input = ctx->Input(name);
      for (int i = 0; i < static_cast<int>(shape->dimensions().size()); ++i) {
        if (!shape->is_dynamic_dimension(i)) continue;
        if (i == 0 && !is_dynamic_) {
          number_ = xla::GetDimensionSize(input, 0);
          is_dynamic_ = true;
        }
        input = xla::RemoveDynamicDimension(input, i);
      }
      inputs_.push_back(input);
      shapes_.push_back(RowMajor(*shape));
    }
  }

  const Shape& shape(int i) const { return shapes_[i]; }
  XlaOp input(int i) const { return inputs_[i]; }

  void Add(XlaOp input, const Shape& shape) {
    inputs_.push_back(input);
    shapes_.push_back(RowMajor(shape));
  }

  // What the gradient of a mean over the rows is multiplied by.
  XlaOp Mean(int replicas) const {
    xla::XlaBuilder* builder = ctx_->builder();
    const XlaOp number = is_dynamic_ ? xla::ConvertElementType(number_, xla::F32)
                                     : xla::ConstantR0<float>(builder, shapes_[0].dimensions(0));
    const XlaOp mean = xla::ConstantR0<float>(builder, 1.0f) / number;
    return replicas > 1 ? mean / xla::ConstantR0<float>(builder, replicas) : mean;
  }

  XlaOp Call(const char* target, const Shape& result, const std::string& attributes,
             const Aliases& aliases = {}) const {
    return xla::CustomCallWithLayout(ctx_->builder(), target, inputs_, result, shapes_, attributes,
                                     /*has_side_effect=*/false, aliases, /*literal=*/nullptr,
                                     xla::CustomCallSchedule::SCHEDULE_NONE,
                                     xla::CustomCallApiVersion::API_VERSION_TYPED_FFI);
  }

  void SetOutput(int i, XlaOp output) const {
    ctx_->SetOutput(i, is_dynamic_ ? xla::SetDimensionSize(output, number_, 0) : output);
  }

 private:
  XlaOpKernelContext* const ctx_;
  std::vector<XlaOp> inputs_;
  std::vector<Shape> shapes_;
  bool is_dynamic_ = false;
  XlaOp number_;
};

// A number as MLIR reads it without rounding.
std::string FloatAttribute(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return absl::StrFormat("0x%08X : f32", bits);
}

template <bool kGradient>
class XlaLossOp : public XlaOpKernel {
 public:
  explicit XlaLossOp(OpKernelConstruction* ctx) : XlaOpKernel(ctx) {
    std::string loss;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("loss", &loss));
    loss_ = CbkLossOfName(loss.c_str());
    OP_REQUIRES_OK(ctx, ctx->GetAttr("label_smoothing", &label_smoothing_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("ignores", &ignores_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("ignore_class", &ignore_class_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("adjusts", &adjusts_));
    if (kGradient) OP_REQUIRES_OK(ctx, ctx->GetAttr("mean_replicas", &mean_replicas_));
  }

  void Compile(XlaOpKernelContext* ctx) override {
    std::string attributes;
    OP_REQUIRES_OK(ctx, Attributes(ctx, &attributes));
    Rows rows(ctx, {"logits", "labels", "class_weights"});
    if (!ctx->status().ok()) return;
    const Shape& logits = rows.shape(0);
    const Shape losses = ShapeUtil::MakeShapeWithDescendingLayout(xla::F32, {logits.dimensions(0)});
    if (!kGradient) {
      rows.SetOutput(0, rows.Call("cb_keras_loss", losses, attributes));
      return;
    }
    if (mean_replicas_ > 0) {
      rows.Add(rows.Mean(mean_replicas_), ShapeUtil::MakeShape(xla::F32, {}));
    } else {
      const Rows upstream(ctx, {"upstream"});
      if (!ctx->status().ok()) return;
      rows.Add(upstream.input(0), upstream.shape(0));
    }
    const Shape results = ShapeUtil::MakeTupleShape({losses, logits});
    const XlaOp both = rows.Call("cb_keras_loss_and_gradient", results, attributes);
    rows.SetOutput(0, xla::GetTupleElement(both, 0));
    rows.SetOutput(1, xla::GetTupleElement(both, 1));
  }

 private:
  absl::Status Attributes(XlaOpKernelContext* ctx, std::string* attributes) const {
    xla::Literal gamma;
    if (const absl::Status status = ctx->ConstantInput("gamma", &gamma); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "gamma must be known when XLA compiles the fused op of cb_keras, not computed from what "
          "it is given: make it a number, or compile without XLA (jit_compile=False). ",
          status.message()));
    }
    *attributes = absl::StrCat("{loss = ", loss_, " : i64, gamma = ",
                               FloatAttribute(gamma.Get<float>({})),
                               ", label_smoothing = ", FloatAttribute(label_smoothing_),
                               ", ignores = ", static_cast<int>(ignores_),
                               " : i64, ignore_class = ", ignore_class_,
                               " : i64, adjusts = ", adjusts_, " : i64}");
    return absl::OkStatus();
  }

  int loss_;
  float label_smoothing_ = 0.0f;
  bool ignores_ = false;
  int64_t ignore_class_ = 0;
  int64_t adjusts_ = 0;
  int64_t mean_replicas_ = 0;
};

class XlaScaleRowsOp : public XlaOpKernel {
 public:
  explicit XlaScaleRowsOp(OpKernelConstruction* ctx) : XlaOpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("mean_replicas", &mean_replicas_));
  }

  void Compile(XlaOpKernelContext* ctx) override {
    Rows rows = mean_replicas_ > 0 ? Rows(ctx, {"values", "upstream"})
                                   : Rows(ctx, {"values", "upstream", "applied"});
    if (!ctx->status().ok()) return;
    if (mean_replicas_ > 0) {
      rows.Add(rows.Mean(mean_replicas_), ShapeUtil::MakeShape(xla::F32, {}));
    }
    // In place, where nobody else needs the values: often there is nothing to change.
    const Aliases in_place = {{{}, {0, {}}}};
    rows.SetOutput(0, rows.Call("cb_keras_scale_rows", rows.shape(0), "{}", in_place));
  }

 private:
  int64_t mean_replicas_ = 0;
};

// Tells which inputs XLA must know. Kernels are not registered in this way: TensorFlow would do it
// once, and that may have been before this library was loaded.
REGISTER_XLA_OP(Name("CbKerasLoss")
                    .Device(absl::Span<const absl::string_view>())
                    .CompileTimeConstantInput("gamma"),
                XlaLossOp<false>);
REGISTER_XLA_OP(Name("CbKerasLossAndGradient")
                    .Device(absl::Span<const absl::string_view>())
                    .CompileTimeConstantInput("gamma"),
                XlaLossOp<true>);

#define COMPILE_ON(device)                                                                 \
  REGISTER_KERNEL_BUILDER(Name("CbKerasLoss").Device(device), XlaLossOp<false>);           \
  REGISTER_KERNEL_BUILDER(Name("CbKerasLossAndGradient").Device(device), XlaLossOp<true>); \
  REGISTER_KERNEL_BUILDER(Name("CbKerasScaleRows").Device(device), XlaScaleRowsOp)

COMPILE_ON("XLA_CPU_JIT");
#if CBK_CUDA
COMPILE_ON("XLA_GPU_JIT");
#endif

}  // namespace
}  // namespace cb_keras
