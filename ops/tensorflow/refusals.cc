// What XLA is told of the ops where it can't compile them, and where nobody asked for it.

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tensorflow/core/common_runtime/optimization_registry.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/graph/graph.h"

namespace cb_keras {
namespace {

using ::tensorflow::OpKernel;
using ::tensorflow::OpKernelConstruction;
using ::tensorflow::OpKernelContext;

// Kernels that say what to do instead; without them XLA would say that there are none.
class NotForXla : public OpKernel {
 public:
  explicit NotForXla(OpKernelConstruction* ctx) : OpKernel(ctx) {
    ctx->SetStatus(absl::UnimplementedError(absl::StrCat(
        "the fused op of cb_keras (", ctx->def().op(), ") can't be compiled by XLA for ",
        ctx->device_type().type_string(),
        ": make the loss with fused=False, or compile the model or the tf.function that calls it "
        "without XLA (jit_compile=False).")));
  }

  void Compute(OpKernelContext*) override {}  // never: there is no such kernel
};

#define REFUSE_ON(device)                                                            \
  REGISTER_KERNEL_BUILDER(Name("CbKerasLoss").Device(device), NotForXla);            \
  REGISTER_KERNEL_BUILDER(Name("CbKerasLossAndGradient").Device(device), NotForXla); \
  REGISTER_KERNEL_BUILDER(Name("CbKerasScaleRows").Device(device), NotForXla)

#if !CBK_XLA
REFUSE_ON("XLA_CPU_JIT");
#endif
#if !(CBK_XLA && CBK_CUDA)
REFUSE_ON("XLA_GPU_JIT");
#endif
REFUSE_ON("XLA_TPU_JIT");

// With TF_XLA_FLAGS=--tf_xla_auto_jit=2 TensorFlow itself chooses what XLA compiles. This keeps the
// ops out of its clusters: the kernels are as fast outside, where they say which class id is wrong.
class KeepOutOfClusters : public tensorflow::GraphOptimizationPass {
 public:
  absl::Status Run(const tensorflow::GraphOptimizationPassOptions& options) override {
    if (options.graph == nullptr) return absl::OkStatus();
    for (tensorflow::Node* node : (*options.graph)->op_nodes()) {
      const std::string& op = node->type_string();
      if (op == "CbKerasLoss" || op == "CbKerasLossAndGradient" || op == "CbKerasScaleRows") {
        node->ClearAttr("_XlaCompile");
        node->AddAttr("_XlaCompile", false);
      }
    }
    return absl::OkStatus();
  }
};

// Before the passes that make clusters, which are the phases from 5 on.
REGISTER_OPTIMIZATION(tensorflow::OptimizationPassRegistry::POST_REWRITE_FOR_EXEC, 1,
                      KeepOutOfClusters);

}  // namespace
}  // namespace cb_keras
