"""Labels, predictions and weights of a batch, as every metric of the library counts them."""

from typing import Any, NamedTuple

import keras
from keras import ops

from cb_keras import private_api
from cb_keras.checks import (
    check_labels,
    classes_first_hint,
    nan_where,
    safe_class_ids,
    sizes_fit,
    to_tensors,
    void_class_ids,
    with_checked_sizes,
)
from cb_keras.examples import along_leading


class Scored(NamedTuple):
    """The examples of a batch, all leading axes in one.

    Attributes:
        labels: Class ids, int32 `[M]`; 0 where there is none, with weight 0.
        predicted: Predicted class ids, int32 `[M]`; -1 where a prediction holds a NaN.
        predictions: What the model gave, `[M, C]`, or `[M, 1]` of one output.
        weight: Weight of each example, `[M]`: 0 for a masked one and for a label that is not a
            class, NaN for a label of more than one class.
    """

    labels: Any
    predicted: Any
    predictions: Any
    weight: Any


class ScoredLabels(NamedTuple):
    """The labels of a batch of multi-hot examples, all axes in one, M = examples times labels.

    Attributes:
        labels: Which label it is, int32 `[M]` in `[0, L)`.
        positive: Whether the example has it, bool `[M]`.
        predicted: Whether it is predicted; what is NaN is predicted wrong.
        weight: Weight of each, `[M]`: 0 for a masked one and one that is not known, NaN for one
            that is not in [0, 1].
    """

    labels: Any
    positive: Any
    predicted: Any
    weight: Any


def scored_examples(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any,
    num_classes: int,
    dtype: str,
    threshold: float | None = None,
    ignore_class: int | None = None,
) -> Scored:
    """Reads a batch.

    Args:
        y_true: Class ids `[...]` or `[..., 1]`, or one-hot or soft labels `[..., C]`.
        y_pred: `[..., C]`, or with a threshold one output, `[..., 1]` or `[N]`. Its Keras mask
            is read as Keras' own metrics do.
        sample_weight: None, or of as many of the leading axes as it has, from the first on.
        num_classes: C.
        dtype: Of the weights.
        threshold: Above it one output says class 1.
        ignore_class: Class id of the examples that do not count.

    Raises:
        ValueError: Shapes or dtypes do not fit; an `ignore_class` for dense labels; or multi-hot
            labels, where values can be seen.
    """
    mask = private_api.keras_mask(y_pred)
    y_true, y_pred = to_tensors(y_true, y_pred)
    if threshold is None:
        _check_outputs(y_pred, num_classes)
        dense = not check_labels(y_true, y_pred)
    else:
        y_pred = _one_output(y_true, y_pred)
        dense = False
    if not dense and len(y_true.shape) == len(y_pred.shape):
        y_true = ops.squeeze(y_true, axis=-1)
    y_true = with_checked_sizes(y_true, y_pred, not dense)
    void = void_class_ids(y_true, not dense, ignore_class)
    static, leading = tuple(y_pred.shape)[:-1], ops.shape(y_pred)[:-1]
    ids, valid, several = (
        _class_of_dense(y_true) if dense else (*safe_class_ids(y_true, num_classes), False)
    )
    if void is not None:
        valid = ops.logical_and(valid, ops.logical_not(void))
    weight = _weight(mask, sample_weight, static, leading, dtype)
    if dense:
        several = ops.logical_and(several, ops.not_equal(weight, 0))
        _refuse_multi_hot(several, tuple(y_true.shape))
    # A label that is not a class stays out, whatever its weight.
    weight = ops.where(ops.reshape(valid, leading), weight, ops.zeros_like(weight))
    weight = nan_where(several, weight)
    rows = ops.reshape(y_pred, (-1, y_pred.shape[-1]))
    return Scored(
        ops.reshape(ids, (-1,)), _predicted(rows, threshold), rows, ops.reshape(weight, (-1,))
    )


def scored_labels(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any,
    num_labels: int,
    dtype: str,
    threshold: Any,
    ignore_class: int | None = None,
) -> ScoredLabels:
    """Reads a batch of multi-hot labels.

    Args:
        y_true: Numbers in [0, 1], `[..., L]`; above 1/2 the example has the label.
        y_pred: `[..., L]`, with or without a Keras mask.
        sample_weight: None, or of as many of the leading axes as it has, the labels' too.
        num_labels: L.
        dtype: Of the weights.
        threshold: Above it a label is predicted.
        ignore_class: What a label is that is not known, which does not count.

    Raises:
        ValueError: Shapes or dtypes do not fit; or labels outside [0, 1], where values can be
            seen.
    """
    mask = private_api.keras_mask(y_pred)
    y_true, y_pred = to_tensors(y_true, y_pred)
    labels, shape = tuple(y_true.shape), tuple(y_pred.shape)
    if shape[-1:] != (num_labels,) or not sizes_fit(labels, shape):
        raise ValueError(
            f"`y_true` has shape {labels} and `y_pred` {shape}: with `multi_label` both are "
            f"[..., {num_labels}], one entry for each of the {num_labels} labels."
        )
    y = ops.cast(with_checked_sizes(y_true, y_pred, False), "float32")
    weight = _weight(mask, sample_weight, shape, ops.shape(y_pred), dtype)
    if ignore_class is not None:
        weight = ops.where(ops.equal(y, ignore_class), ops.zeros_like(weight), weight)
    strange = ops.logical_not(ops.logical_and(y >= 0, y <= 1))
    strange = ops.logical_and(strange, ops.not_equal(weight, 0))
    number = seen(ops.sum(ops.cast(strange, "int32")))
    if number:
        raise ValueError(
            f"`y_true` of shape {labels} holds {int(number)} labels that are not in [0, 1] (NaN, "
            "or -1 for no): give 0 and 1; where -1 stands for a label that is not known give the "
            "metric ignore_class=-1."
        )
    weight = nan_where(strange, weight)
    positive = y > 0.5
    nan = ops.isnan(y_pred)
    predicted = ops.where(nan, ops.logical_not(positive), y_pred > threshold)
    index = ops.broadcast_to(ops.arange(num_labels, dtype="int32"), ops.shape(y_pred))
    return ScoredLabels(*(ops.reshape(x, (-1,)) for x in (index, positive, predicted, weight)))


def _weight(mask: Any, sample_weight: Any, static: Any, leading: Any, dtype: str) -> Any:
    """Weight of each example of shape `leading`, 0 where it is masked."""
    weight = ops.ones(leading, dtype)
    if sample_weight is not None:
        weight = ops.cast(along_leading("sample_weight", sample_weight, static, leading), dtype)
    if mask is not None:
        kept = along_leading("mask", mask, static, leading)
        weight = ops.where(ops.cast(kept, "bool"), weight, ops.zeros_like(weight))
    return weight


def _check_outputs(y_pred: Any, num_classes: int) -> None:
    shape = tuple(y_pred.shape)
    outputs = shape[-1] if shape else None
    if outputs == 1 and num_classes == 2:
        raise ValueError(
            f"`y_pred` has one output (shape {shape}), which is read with a `threshold`: give 0.0 "
            "for logits, 0.5 for probabilities; or give the model two outputs."
        )
    if outputs is not None and outputs != num_classes:
        raise ValueError(
            f"`y_pred` has {outputs} classes (shape {shape}) but `num_classes` is {num_classes}: "
            "give the metric the number of the model's outputs"
            + (" (with one output per example, a `threshold`)." if num_classes == 2 else ".")
            + classes_first_hint(shape, num_classes)
        )


def _one_output(y_true: Any, y_pred: Any) -> Any:
    """`y_pred` as [..., 1]; labels must be [...] or [..., 1]."""
    labels, shape = tuple(y_true.shape), tuple(y_pred.shape)
    leading = shape if len(shape) < 2 else shape[:-1]
    one = len(shape) == 1 or shape[-1:] == (1,)
    if not one or not (sizes_fit(labels, leading) or sizes_fit(labels, (*leading, 1))):
        raise ValueError(
            f"`y_true` has shape {labels} and `y_pred` {shape}: with a `threshold`, `y_pred` is "
            "one output, [..., 1] or [N], and `y_true` its 0/1 labels, [...] or [..., 1]."
        )
    return ops.expand_dims(y_pred, -1) if len(shape) == 1 else y_pred


def _class_of_dense(y_true: Any) -> tuple[Any, Any, Any]:
    """The largest entry, whether there is just one, above 0, and whether two are above 1/2."""
    y = ops.cast(y_true, "float32")
    largest = ops.max(y, axis=-1, keepdims=True)
    alone = ops.equal(ops.sum(ops.cast(ops.equal(y, largest), "int32"), axis=-1), 1)
    valid = ops.logical_and(alone, ops.squeeze(largest, -1) > 0)
    several = ops.sum(ops.cast(y > 0.5, "int32"), axis=-1) > 1
    return ops.cast(ops.argmax(y, axis=-1), "int32"), valid, several


def _refuse_multi_hot(several: Any, shape: Any) -> None:
    number = seen(ops.sum(ops.cast(several, "int32")))
    if number:
        raise ValueError(
            f"`y_true` of shape {shape} holds {int(number)} multi-hot labels (two entries above "
            "1/2), but the metric counts examples of one class: give class ids or one-hot labels, "
            "or use a multi-label metric: MacroF1 or PerClassRecall with multi_label=True."
        )


def seen(tensor: Any) -> Any:
    """Values of a tensor; None where they are symbolic: traced, or Keras' stand-ins for them."""
    if private_api.in_stateless_scope():
        return None
    if keras.backend.backend() == "tensorflow" and not hasattr(tensor, "numpy"):
        return None
    return ops.convert_to_numpy(tensor)


def _predicted(rows: Any, threshold: float | None) -> Any:
    """Class ids of the predictions `[M, C]`, -1 for a row with a NaN."""
    if threshold is None:
        predicted = ops.cast(ops.argmax(rows, axis=-1), "int32")
    else:
        predicted = ops.cast(rows[:, 0] > threshold, "int32")
    return ops.where(ops.any(ops.isnan(rows), axis=-1), ops.full_like(predicted, -1), predicted)
