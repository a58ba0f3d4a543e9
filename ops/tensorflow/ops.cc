// The ops as TensorFlow knows them: inputs, outputs, shapes.

#include "../losses.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace {

using ::tensorflow::shape_inference::DimensionHandle;
using ::tensorflow::shape_inference::InferenceContext;
using ::tensorflow::shape_inference::ShapeHandle;

// Checks the inputs that both loss ops share; sets the shapes of losses and of logits.
absl::Status LossShapes(InferenceContext* c, ShapeHandle* logits) {
  ShapeHandle labels, weights, unused;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, logits));
  tensorflow::DataType labels_type;
  TF_RETURN_IF_ERROR(c->GetAttr("Labels", &labels_type));
  DimensionHandle rows = c->Dim(*logits, 0), classes = c->Dim(*logits, 1);
  if (labels_type == tensorflow::DT_FLOAT) {  // class ids or multi-hot labels
    TF_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(1), 1, &labels));
    TF_RETURN_IF_ERROR(c->WithRankAtMost(labels, 2, &labels));
    if (c->RankKnown(labels) && c->Rank(labels) == 2) {
      TF_RETURN_IF_ERROR(c->Merge(c->Dim(labels, 1), classes, &classes));
    }
  } else {
    TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 1, &labels));
  }
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(labels, 0), rows, &rows));
  int64_t adjusts;
  TF_RETURN_IF_ERROR(c->GetAttr("adjusts", &adjusts));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(2), adjusts ? 2 : 1, &weights));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(weights, -1), classes, &classes));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(3), 0, &unused));
  *logits = c->MakeShape({rows, classes});
  c->set_output(0, c->Vector(rows));
  return absl::OkStatus();
}

absl::Status LossAndGradientShapes(InferenceContext* c) {
  ShapeHandle logits, unused;
  TF_RETURN_IF_ERROR(LossShapes(c, &logits));
  TF_RETURN_IF_ERROR(c->WithRankAtMost(c->input(4), 1, &unused));
  c->set_output(1, logits);
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("CbKerasLoss")
    .Attr(CBK_LOSS_ATTRIBUTE)
    .Attr("T: {float, bfloat16, half}")
    .Attr("Labels: {int32, int64, uint64, float, double}")
    .Attr("label_smoothing: float = 0.0")
    .Attr("ignores: bool = false")
    .Attr("ignore_class: int = 0")
    .Attr("adjusts: int = 0")
    .Input("logits: T")
    .Input("labels: Labels")
    .Input("class_weights: float")
    .Input("gamma: float")
    .Output("losses: float")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle logits;
      return LossShapes(c, &logits);
    })
    .Doc(R"(
Class-balanced loss of every row of `logits` [N, C].

labels: Class ids [N], or multi-hot labels [N, C] (float).
class_weights: [C].
gamma: Scalar, finite and >= 0; the focal losses alone use it.
label_smoothing: In [0, 1]; the softmax loss alone uses it.
ignores: Whether there is a class id whose rows have loss and gradient 0.
ignore_class: That class id.
adjusts: Which factors (1), offsets (2) and margins (4) of the classes follow the weights, [1 + n, C]
  then: the softmax losses take factor * logit + offset, less the label's margin.
losses: [N].
)");

REGISTER_OP("CbKerasLossAndGradient")
    .Attr(CBK_LOSS_ATTRIBUTE)
    .Attr("T: {float, bfloat16, half}")
    .Attr("Labels: {int32, int64, uint64, float, double}")
    .Attr("label_smoothing: float = 0.0")
    .Attr("ignores: bool = false")
    .Attr("ignore_class: int = 0")
    .Attr("adjusts: int = 0")
    .Attr("mean_replicas: int = 0")
    .Input("logits: T")
    .Input("labels: Labels")
    .Input("class_weights: float")
    .Input("gamma: float")
    .Input("upstream: float")
    .Output("losses: float")
    .Output("gradient: T")
    .SetShapeFn(LossAndGradientShapes)
    .Doc(R"(
Class-balanced loss of every row of `logits` and, in the same pass, its gradient.

upstream: [N] or scalar: the factor of each row's gradient.
mean_replicas: Where it is not 0, `upstream` is not read but 1 / N / mean_replicas, which is what the
  mean of the rows gives them on that many replicas.
losses: [N], without `upstream`.
gradient: [N, C], of `sum(upstream * losses)` with respect to `logits`.
)");

REGISTER_OP("CbKerasScaleRows")
    .Attr("T: {float, bfloat16, half}")
    .Attr("mean_replicas: int = 0")
    .Input("values: T")
    .Input("upstream: float")
    .Input("applied: float")
    .Output("scaled: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle values, upstream, unused;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &values));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 1, &upstream));
      TF_RETURN_IF_ERROR(c->WithRankAtMost(c->input(2), 1, &unused));
      c->set_output(0, values);
      return absl::OkStatus();
    })
    .Doc(R"(
Rows of `values` [N, C] times `upstream / applied`; nothing is computed where the two are equal.

upstream: [N].
applied: [N] or scalar.
mean_replicas: Where it is not 0, `applied` is not read but 1 / N / mean_replicas.
)");
