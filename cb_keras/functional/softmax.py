"""Softmax cross-entropy."""

from typing import Any

import keras
from keras import ops
from numpy.typing import ArrayLike

from cb_keras.checks import check_label_smoothing
from cb_keras.counts import ByClass
from cb_keras.functional.preparation import (
    Prepared,
    clip_probabilities,
    prepare,
    refused_or,
    registered,
)
from cb_keras.functional.weighting import (
    class_ids_and_weight,
    tame_where_weightless,
    weighted_targets,
    without_infinite,
)


@registered
def class_balanced_softmax_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    class_weights: ByClass | None = None,
    from_logits: bool = True,
    *,
    label_smoothing: float = 0.0,
    ignore_class: int | None = None,
) -> Any:
    """Class-balanced softmax cross-entropy, `w_y * -log softmax(z)_y`.

    Dense labels mix the weighted losses of the classes, `-sum_c y_c w_c log softmax(z)_c`, so that
    the loss of mixed labels is the mix of their losses.

    Args:
        y_true: Labels, `[...]`, `[..., 1]` or `[..., C]`; see `cb_keras.functional`.
        y_pred: Logits `[..., C]`, or probabilities with `from_logits=False`.
        class_weights: `[C]`, from `class_balanced_weights`, or None.
        from_logits: Whether `y_pred` are logits.
        label_smoothing: Share s in [0, 1] of each class's loss that is spread over all classes:
            `w_y * ((1 - s) CE_y + s / C * sum_c CE_c)`.
        ignore_class: Class id of examples that do not count, such as the 255 of a segmentation's
            void pixels; their loss and gradient are 0, whatever their logits are. None: all count.

    Returns:
        Loss per example, shape `[...]`, at least float32.

    Raises:
        ValueError: Shapes or dtypes that do not fit together; `label_smoothing` out of range;
            `ignore_class` with dense labels.

    Source: Cui et al., CVPR 2019, equation 7.
    """
    label_smoothing = check_label_smoothing(label_smoothing)
    prepared = prepare(y_true, y_pred, class_weights, from_logits, ignore_class)
    return refused_or(prepared, softmax(prepared, from_logits, label_smoothing))


def softmax(prepared: Prepared, from_logits: bool = True, label_smoothing: float = 0.0) -> Any:
    """The loss of arguments that are prepared.

    Raises:
        ValueError: As `check_several_outputs`.
    """
    labels, predictions, weights, sparse, void = prepared
    check_several_outputs(predictions)
    if not sparse:
        targets, predictions = weighted_targets(labels, predictions, weights)
        return _dense_crossentropy(
            smoothed(targets, label_smoothing), logits_of(predictions, from_logits)
        )
    class_ids, weight = class_ids_and_weight(labels, predictions, weights, void)
    logits = logits_of(tame_where_weightless(predictions, weight, weights, void), from_logits)
    if label_smoothing:
        log_p = ops.log_softmax(logits)
        own = ops.squeeze(ops.take_along_axis(log_p, ops.expand_dims(class_ids, -1), axis=-1), -1)
        mean = mean_of_classes(log_p)
        return weight * -((1.0 - label_smoothing) * own + label_smoothing * mean)
    if keras.backend.backend() == "jax":  # where Keras' own makes 0 * infinity of a logit of -inf
        one_hot = ops.one_hot(class_ids, logits.shape[-1], dtype=logits.dtype)
        return weight * _dense_crossentropy(one_hot, logits)
    return weight * ops.sparse_categorical_crossentropy(class_ids, logits, from_logits=True)


def check_several_outputs(predictions: Any) -> None:
    """Raises ValueError where there is one class only, of which the softmax is always 1."""
    if predictions.shape[-1] == 1:
        raise ValueError(
            f"`y_pred` of shape {tuple(predictions.shape)} has one output, of which the softmax is "
            "always 1: give the model two outputs and 0/1 labels, or use the sigmoid loss."
        )


def logits_of(predictions: Any, from_logits: bool) -> Any:
    """Logits whose softmax are the predictions."""
    return predictions if from_logits else ops.log(clip_probabilities(predictions))


def mean_of_classes(x: Any) -> Any:
    """Mean over the last axis; that of Keras computes in float32 on PyTorch, also of float64."""
    return ops.sum(x, axis=-1) / x.shape[-1]


def smoothed(targets: Any, label_smoothing: float) -> Any:
    """Targets `[..., C]`, a share of whose sum is spread evenly over the classes."""
    if not label_smoothing:
        return targets
    spread = label_smoothing / targets.shape[-1] * ops.sum(targets, axis=-1, keepdims=True)
    return (1.0 - label_smoothing) * targets + spread


def softmax_terms(labels: Any, logits: Any, label_smoothing: float = 0.0) -> Any:
    """Unweighted loss of each class, `[..., C]`: of what dense labels and weights are factors.

    A term that is infinite is left out, 0, where the label is 0.
    """
    if label_smoothing:
        log_p = ops.log_softmax(logits)
    else:
        log_p = without_infinite(ops.log_softmax(logits), labels)
    mean = ops.expand_dims(mean_of_classes(log_p), -1) if label_smoothing else 0.0
    return -((1.0 - label_smoothing) * log_p + label_smoothing * mean)


def _dense_crossentropy(labels: Any, logits: Any) -> Any:
    """`-sum_c y_c log softmax(z)_c`; a class with y_c = 0 adds 0, also where its logit is -inf.

    Not `ops.categorical_crossentropy`: on TensorFlow its gradient is `softmax(z) - y`, which is
    right only for labels of sum 1.
    """
    return -ops.sum(labels * without_infinite(ops.log_softmax(logits), labels), axis=-1)
