"""Sigmoid cross-entropy and the focal loss, which is the same with gamma 0."""

from typing import Any

from keras import ops
from numpy.typing import ArrayLike

from cb_keras.checks import check_gamma, invalid_multi_hot, nan_where, refuse_invalid_multi_hot
from cb_keras.counts import ByClass
from cb_keras.functional.preparation import Prepared, clip_probabilities, prepare, registered
from cb_keras.functional.weighting import (
    average_weight,
    class_ids_and_weight,
    tame_where_weightless,
    without_infinite,
)

_SMALLEST_GAMMA = 1.2e-38  # below it float32 has 0, and 0 * infinity would be NaN


@registered
def class_balanced_sigmoid_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    class_weights: ByClass | None = None,
    from_logits: bool = True,
    *,
    ignore_class: int | None = None,
) -> Any:
    """Class-balanced sigmoid cross-entropy, `w_y * sum_c BCE(z_c, y_c)`.

    Args:
        y_true: Labels, `[...]`, `[..., 1]` or `[..., C]`; multi-hot ones too.
        y_pred: Logits `[..., C]`, or probabilities with `from_logits=False`.
        class_weights: `[C]`, from `class_balanced_weights`, or None.
        from_logits: Whether `y_pred` are logits.
        ignore_class: Class id of examples that do not count, such as the 255 of a segmentation's
            void pixels; their loss and gradient are 0, whatever their logits are. None: all count.

    Returns:
        Loss per example, summed (not averaged) over classes, shape `[...]`, at least float32.

    Raises:
        ValueError: Shapes or dtypes that do not fit together; `ignore_class` with dense labels.

    Source: Cui et al., CVPR 2019, equation 9.
    """
    prepared = prepare(y_true, y_pred, class_weights, from_logits, ignore_class)
    return _refused_or_focal(prepared, 0.0, from_logits)


@registered
def class_balanced_focal_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    class_weights: ByClass | None = None,
    gamma: float = 1.0,
    from_logits: bool = True,
    *,
    ignore_class: int | None = None,
) -> Any:
    """Class-balanced focal loss, `w_y * sum_c (1 - p_t)^gamma * BCE(z_c, y_c)`.

    `p_t` is `sigmoid(z_c)` for a positive class and `1 - sigmoid(z_c)` otherwise. The factor is
    evaluated as `exp(-gamma * softplus(z_t))` with `z_t = z_c` or `-z_c`, which neither overflows
    nor has the infinite slope that `(1 - p_t)^gamma` has at `p_t = 1` for gamma < 1. A soft label
    y mixes the two terms, `y * positive + (1 - y) * negative`.

    Args:
        y_true: Labels, `[...]`, `[..., 1]` or `[..., C]`; multi-hot ones too.
        y_pred: Logits `[..., C]`, or probabilities with `from_logits=False`.
        class_weights: `[C]`, from `class_balanced_weights`, or None.
        gamma: Focusing parameter, a finite float >= 0; 0 is the sigmoid loss.
        from_logits: Whether `y_pred` are logits.
        ignore_class: Class id of examples that do not count, such as the 255 of a segmentation's
            void pixels; their loss and gradient are 0, whatever their logits are. None: all count.

    Returns:
        Loss per example, summed over classes, shape `[...]`, at least float32.

    Raises:
        ValueError: `gamma` out of range; shapes or dtypes that do not fit together;
            `ignore_class` with dense labels.

    Source: Cui et al., CVPR 2019, equation 11, after Lin et al., ICCV 2017.
    """
    gamma = check_gamma(gamma)
    prepared = prepare(y_true, y_pred, class_weights, from_logits, ignore_class)
    return _refused_or_focal(prepared, gamma, from_logits)


def _refused_or_focal(prepared: Prepared, gamma: float, from_logits: bool) -> Any:
    losses = focal(prepared, gamma, from_logits)
    return losses if prepared.sparse else refuse_invalid_multi_hot(prepared.labels, losses)


def focal(prepared: Prepared, gamma: Any, from_logits: bool = True) -> Any:
    """The loss of arguments that are prepared; `gamma` is a float >= 0 or a scalar tensor."""
    labels, predictions, weights, sparse, void = prepared
    if not sparse:
        weight = ops.convert_to_tensor(average_weight(labels, weights), dtype=labels.dtype)
        weight = nan_where(ops.any(invalid_multi_hot(labels), axis=-1), weight)
        logits = as_logits(tame_where_weightless(predictions, weight, weights), from_logits)
        positive, negative = _terms(labels, logits, gamma)
        return weight * ops.sum(labels * positive + (1.0 - labels) * negative, axis=-1)
    class_ids, weight = class_ids_and_weight(labels, predictions, weights, void)
    logits = as_logits(tame_where_weightless(predictions, weight, weights, void), from_logits)
    classes = ops.arange(logits.shape[-1], dtype=class_ids.dtype)
    is_label = ops.equal(ops.expand_dims(class_ids, -1), classes)
    z_t = ops.where(is_label, logits, -logits)
    return weight * ops.sum(binary_focal(z_t, gamma), axis=-1)


def label_slopes(labels: Any, logits: Any, gamma: Any) -> Any:
    """Derivative of the unweighted sigmoid (gamma 0) and focal losses by the labels, `[..., C]`."""
    positive, negative = _terms(labels, logits, gamma)
    return positive - negative


def as_logits(predictions: Any, from_logits: bool) -> Any:
    """Predictions as logits; probabilities away from 0 and 1, as Keras' losses clip them."""
    if from_logits:
        return predictions
    p = clip_probabilities(predictions)
    return ops.log(p) - ops.log1p(-p)


def _terms(labels: Any, logits: Any, gamma: Any) -> tuple[Any, Any]:
    """Losses of each output where its class is positive, and where it is negative."""
    positive = binary_focal(without_infinite(logits, labels), gamma)
    return positive, binary_focal(without_infinite(-logits, 1.0 - labels), gamma)


def binary_focal(z_t: Any, gamma: Any) -> Any:
    """`(1 - sigmoid(z_t))^gamma * -log sigmoid(z_t)`, elementwise."""
    crossentropy = ops.softplus(-z_t)
    if isinstance(gamma, float) and gamma < _SMALLEST_GAMMA:
        return crossentropy
    return ops.exp(-gamma * ops.softplus(z_t)) * crossentropy
