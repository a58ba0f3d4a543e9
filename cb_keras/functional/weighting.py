"""The weight of each example, and what keeps 0 times infinity from becoming NaN."""

from typing import Any

import keras
from keras import ops

from cb_keras.checks import nan_where, safe_class_ids

_LARGEST_LOGIT = 1e30  # whose losses can be added up in float32


def class_ids_and_weight(
    labels: Any, logits: Any, weights: Any, void: Any = None
) -> tuple[Any, Any]:
    """Class ids that are safe to index with, and the weight of each example, NaN where invalid.

    `logits` `[..., C]` says how many classes there are, and in which dtype weights of 1 are. The
    weight is 0 where `void`, whatever the label is.
    """
    class_ids, valid = safe_class_ids(labels, logits.shape[-1])
    if weights is None:
        weight = ops.ones_like(class_ids, dtype=logits.dtype)
    else:
        weight = ops.take(weights, class_ids, axis=0)
    if void is None:
        return class_ids, nan_where(ops.logical_not(valid), weight)
    invalid = ops.logical_not(ops.logical_or(valid, void))
    return class_ids, ops.where(void, 0.0, nan_where(invalid, weight))


def average_weight(labels: Any, weights: Any) -> Any:
    """Mean weight of each example's positive classes, `[...]`; of all where it has none."""
    if weights is None:
        return 1.0
    total = ops.sum(labels, axis=-1)
    return _by_total(ops.sum(labels * weights, axis=-1), total, ops.sum(weights) / weights.shape[0])


def shares_of_weights(labels: Any) -> tuple[Any, Any]:
    """What each class weight contributes to each example's, and the sum of its labels.

    Args:
        labels: Multi-hot labels `[..., C]`, floats.

    Returns:
        `[..., C]`: labels over their sum, or 1/C where that is not positive; and `[..., 1]`.
    """
    total = ops.sum(labels, axis=-1, keepdims=True)
    return _by_total(labels, total, 1 / labels.shape[-1]), total


def weighted_targets(labels: Any, logits: Any, weights: Any) -> tuple[Any, Any]:
    """Dense labels times class weights, `[..., C]`, and logits that are tame where all are 0."""
    if weights is None:
        return labels, logits
    targets = labels * weights
    size = ops.sum(ops.abs(targets), axis=-1)
    return targets, tame_where_weightless(logits, size, weights)


def _by_total(x: Any, total: Any, without_labels: Any) -> Any:
    """`x / total`, or `without_labels` for an example whose labels have no positive sum."""
    has_label = ops.greater(total, 0.0)
    return ops.where(has_label, x / ops.where(has_label, total, 1.0), without_labels)


def without_infinite(x: Any, labels: Any) -> Any:
    """x, with 0 for -inf where the label is 0: the product of their terms would be NaN.

    Finite ones stay: the gradient by a label of 0 is computed from them.
    """
    is_left_out = ops.logical_and(ops.equal(labels, 0.0), ops.logical_and(ops.isinf(x), x < 0))
    return ops.where(is_left_out, 0.0, x)


def tame_where(rows: Any, logits: Any) -> Any:
    """Logits, 0 for those of the rows that are NaN, infinite or so large that a loss would be.

    Usual ones stay: the gradient by the weight is computed from them.
    """
    wild = ops.logical_not(ops.abs(logits) <= _LARGEST_LOGIT)
    return ops.where(ops.logical_and(rows, wild), 0.0, logits)


def tame_where_weightless(logits: Any, weight: Any, weights: Any, void: Any = None) -> Any:
    """Logits with which examples of weight 0 have a finite loss, so that times 0 it is 0."""
    if weights is None and void is None:
        return logits
    rows = ops.expand_dims(ops.equal(weight, 0.0), -1)
    if keras.backend.backend() != "tensorflow":  # XLA makes it part of the loss; torch can't branch
        return tame_where(rows, logits)
    some = ops.any(ops.equal(weights, 0.0) if void is None else rows)
    return ops.cond(some, lambda: tame_where(rows, logits), lambda: logits)
