"""Softmax cross-entropy."""

from typing import Any

import keras
from keras import ops
from numpy.typing import ArrayLike

from cb_keras.counts import ByClass
from cb_keras.functional.preparation import Prepared, clip_probabilities, prepare, registered
from cb_keras.functional.weighting import (
    average_weight,
    class_ids_and_weight,
    tame_where_weightless,
    without_infinite,
)


@registered
def class_balanced_softmax_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    class_weights: ByClass | None = None,
    from_logits: bool = True,
    *,
    ignore_class: int | None = None,
) -> Any:
    """Class-balanced softmax cross-entropy, `w_y * -log softmax(z)_y`.

    Args:
        y_true: Labels, `[...]`, `[..., 1]` or `[..., C]`; see `cb_keras.functional`.
        y_pred: Logits `[..., C]`, or probabilities with `from_logits=False`.
        class_weights: `[C]`, from `class_balanced_weights`, or None.
        from_logits: Whether `y_pred` are logits.
        ignore_class: Class id of examples that do not count, such as the 255 of a segmentation's
            void pixels; their loss and gradient are 0, whatever their logits are. None: all count.

    Returns:
        Loss per example, shape `[...]`, at least float32.

    Raises:
        ValueError: Shapes or dtypes that do not fit together; `ignore_class` with dense labels.

    Source: Cui et al., CVPR 2019, equation 7.
    """
    prepared = prepare(y_true, y_pred, class_weights, from_logits, ignore_class)
    return softmax(prepared, from_logits)


def softmax(prepared: Prepared, from_logits: bool = True) -> Any:
    """The loss of arguments that are prepared.

    Raises:
        ValueError: There is only one class, of which the softmax is always 1.
    """
    labels, predictions, weights, sparse, void = prepared
    if predictions.shape[-1] == 1:
        raise ValueError(
            f"`y_pred` of shape {tuple(predictions.shape)} has one output, of which the softmax is "
            "always 1: give the model two outputs and 0/1 labels, or use the sigmoid loss."
        )
    if not sparse:
        weight = average_weight(labels, weights)
        predictions = tame_where_weightless(predictions, weight, weights)
        logits = predictions if from_logits else ops.log(clip_probabilities(predictions))
        return weight * _dense_crossentropy(labels, logits)
    class_ids, weight = class_ids_and_weight(labels, predictions, weights, void)
    predictions = tame_where_weightless(predictions, weight, weights, void)
    logits = predictions if from_logits else ops.log(clip_probabilities(predictions))
    if keras.backend.backend() == "jax":  # where Keras' own makes 0 * infinity of a logit of -inf
        one_hot = ops.one_hot(class_ids, logits.shape[-1], dtype=logits.dtype)
        return weight * _dense_crossentropy(one_hot, logits)
    return weight * ops.sparse_categorical_crossentropy(class_ids, logits, from_logits=True)


def _dense_crossentropy(labels: Any, logits: Any) -> Any:
    """`-sum_c y_c log softmax(z)_c`; a class with y_c = 0 adds 0, also where its logit is -inf.

    Not `ops.categorical_crossentropy`: on TensorFlow its gradient is `softmax(z) - y`, which is
    right only for labels of sum 1.
    """
    return -ops.sum(labels * without_infinite(ops.log_softmax(logits), labels), axis=-1)
