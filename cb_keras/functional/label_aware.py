"""Softmax cross-entropy whose labels are smoothed by the size of their class."""

from typing import Any

import numpy as np
from keras import ops
from numpy.typing import ArrayLike, NDArray

from cb_keras.checks import check_share
from cb_keras.counts import ByClass
from cb_keras.functional.logit_side import counts_of_all
from cb_keras.functional.preparation import (
    Prepared,
    at_least_float32,
    prepare,
    refused_or,
    registered,
)
from cb_keras.functional.softmax import check_several_outputs, mean_of_classes
from cb_keras.functional.weighting import (
    class_ids_and_weight,
    tame_where_weightless,
    weighted_targets,
    without_infinite,
)


def smoothing_by_class(
    class_counts: ByClass, head: float = 0.3, tail: float = 0.0
) -> NDArray[np.float64]:
    """How much the labels of each class are smoothed, float64 `[C]`: the concave form of the paper.

    `e_c = tail + (head - tail) sin(pi/2 (n_c - n_min) / (n_max - n_min))`; `head` for all classes
    where all have the same count.

    Raises:
        ValueError: A count is not one, a class has no examples, or a share is out of range.
    """
    counts = counts_of_all(class_counts)
    head, tail = check_share("head", head), check_share("tail", tail)
    spread = counts.max() - counts.min()
    place = (counts - counts.min()) / spread if spread else np.ones_like(counts)
    return tail + (head - tail) * np.sin(np.pi / 2 * place)


@registered
def label_aware_smoothing_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    class_counts: ByClass,
    head: float = 0.3,
    tail: float = 0.0,
    class_weights: ByClass | None = None,
    *,
    ignore_class: int | None = None,
) -> Any:
    """Cross-entropy with labels smoothed by class, `w_y ((1 - e_y) CE_y + e_y mean_c CE_c)`.

    `e_y` is `head` for the largest class and `tail` for the smallest, in between
    `tail + (head - tail) sin(pi/2 (n_y - n_min) / (n_max - n_min))`. A share e spread over all C
    classes, as here and in the official code, is one of `e (C - 1) / C` spread over the other
    classes, as the paper writes it. Dense labels mix the losses of the classes.

    Args:
        y_true: Labels, `[...]`, `[..., 1]` or `[..., C]`; see `cb_keras.functional`.
        y_pred: Logits `[..., C]`.
        class_counts: Training examples per class `[C]`, integers >= 1.
        head: Share in [0, 1] that is spread of the largest class's labels.
        tail: Share in [0, 1] that is spread of the smallest class's.
        class_weights: `[C]`, or None for weight 1.
        ignore_class: Class id of examples that do not count, or None.

    Returns:
        Loss per example, shape `[...]`, at least float32.

    Raises:
        ValueError: An argument is out of range, a class has no examples, or shapes do not fit.

    Source: Zhong et al., "Improving Calibration for Long-Tailed Recognition", CVPR 2021, equations
    3 and 4, and its official code.
    """
    smoothing = smoothing_by_class(class_counts, head, tail)
    weights = np.ones(smoothing.size) if class_weights is None else class_weights
    prepared = prepare(y_true, y_pred, weights, True, ignore_class)
    return refused_or(prepared, label_aware(prepared, smoothing))


def label_aware(prepared: Prepared, smoothing: NDArray[np.float64]) -> Any:
    """The loss of arguments that are prepared, with the shares of each class `[C]`."""
    labels, logits, weights, sparse, void = prepared
    check_several_outputs(logits)
    logits = ops.cast(logits, at_least_float32(logits))
    shares = ops.convert_to_tensor(smoothing, logits.dtype)
    if sparse:
        class_ids, weight = class_ids_and_weight(labels, logits, weights, void)
        log_p = ops.log_softmax(tame_where_weightless(logits, weight, weights, void))
        own = ops.squeeze(ops.take_along_axis(log_p, ops.expand_dims(class_ids, -1), axis=-1), -1)
        share = ops.take(shares, class_ids, axis=0)
        return weight * -((1.0 - share) * own + share * mean_of_classes(log_p))
    targets, logits = weighted_targets(labels, logits, weights)
    log_p = ops.log_softmax(logits)
    spread = ops.sum(targets * shares, axis=-1) * mean_of_classes(log_p)
    own = targets * (1.0 - shares)
    return -(ops.sum(own * without_infinite(log_p, own), axis=-1) + spread)
