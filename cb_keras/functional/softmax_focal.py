"""Softmax focal loss."""

from typing import Any

import keras
from keras import ops
from numpy.typing import ArrayLike

from cb_keras.checks import check_gamma
from cb_keras.counts import ByClass
from cb_keras.functional.focal import binary_focal
from cb_keras.functional.preparation import Prepared, prepare, refused_or, registered
from cb_keras.functional.softmax import check_several_outputs, logits_of
from cb_keras.functional.weighting import (
    class_ids_and_weight,
    tame_where_weightless,
    weighted_targets,
    without_infinite,
)

_LOWEST = -3e38  # of all logits, and finite: no infinity is made where there is none
_NO_LOGIT = -1e30  # of a class that is left out: adds nothing, and unlike -inf has a finite slope


@registered
def class_balanced_softmax_focal_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    class_weights: ByClass | None = None,
    gamma: float = 2.0,
    from_logits: bool = True,
    *,
    ignore_class: int | None = None,
) -> Any:
    """Class-balanced softmax focal loss, `w_y * (1 - p_y)^gamma * -log p_y`, `p = softmax(z)`.

    It is evaluated as the binary focal loss of `u = z_y - log sum_{c != y} exp(z_c)`, of which
    `p_y` is the sigmoid: nothing cancels where `p_y` is near 1, and the slope is right where
    `p_y` is near 0. Dense labels mix the weighted losses of the classes,
    `sum_c y_c w_c (1 - p_c)^gamma * -log p_c`.

    Args:
        y_true: Labels, `[...]`, `[..., 1]` or `[..., C]`; see `cb_keras.functional`.
        y_pred: Logits `[..., C]`, or probabilities with `from_logits=False`.
        class_weights: `[C]`, from `class_balanced_weights`, or None.
        gamma: Focusing parameter, a finite float >= 0; 0 is the softmax loss.
        from_logits: Whether `y_pred` are logits.
        ignore_class: Class id of examples that do not count, such as the 255 of a segmentation's
            void pixels; their loss and gradient are 0, whatever their logits are. None: all count.

    Returns:
        Loss per example, shape `[...]`, at least float32.

    Raises:
        ValueError: `gamma` out of range; shapes or dtypes that do not fit together;
            `ignore_class` with dense labels.

    Source: Lin et al., ICCV 2017, for a softmax as in Cui et al., CVPR 2019, section 4.
    """
    gamma = check_gamma(gamma)
    prepared = prepare(y_true, y_pred, class_weights, from_logits, ignore_class)
    return refused_or(prepared, softmax_focal(prepared, gamma, from_logits))


def softmax_focal(prepared: Prepared, gamma: Any, from_logits: bool = True) -> Any:
    """The loss of arguments that are prepared; `gamma` is a float >= 0 or a scalar tensor.

    Raises:
        ValueError: There is only one class, of which the softmax is always 1.
    """
    labels, predictions, weights, sparse, void = prepared
    check_several_outputs(predictions)
    if not sparse:
        targets, predictions = weighted_targets(labels, predictions, weights)
        terms = softmax_focal_terms(targets, logits_of(predictions, from_logits), gamma)
        return ops.sum(targets * terms, axis=-1)
    class_ids, weight = class_ids_and_weight(labels, predictions, weights, void)
    logits = logits_of(tame_where_weightless(predictions, weight, weights, void), from_logits)
    logits = _less_the_largest(logits)
    own = ops.squeeze(ops.take_along_axis(logits, ops.expand_dims(class_ids, -1), axis=-1), -1)
    others = ops.logsumexp(_without_own(logits, class_ids), axis=-1)
    return weight * binary_focal(own - others, gamma)


def softmax_focal_terms(labels: Any, logits: Any, gamma: Any, margin: Any = 0.0) -> Any:
    """Unweighted loss of each class, `[..., C]`: of what dense labels and weights are factors.

    A term that is infinite is that of a logit 0 where the label is 0. In each class's own term its
    logit is less by its `margin`, `[C]`.
    """
    # The largest class alone may have p near 1: its 1 - p is made of the others, which are summed
    # without it; the others' 1 - p is at least 1/2.
    logits = _less_the_largest(logits)
    position = ops.expand_dims(ops.argmax(logits, axis=-1), -1)
    is_top = ops.equal(ops.arange(logits.shape[-1], dtype=position.dtype), position)
    top = ops.take_along_axis(logits, position, axis=-1)
    rest = ops.logsumexp(ops.where(is_top, _NO_LOGIT, logits), axis=-1, keepdims=True)
    log_p = ops.where(is_top, -1.0, logits - top - ops.softplus(rest - top))
    u = ops.where(is_top, top - rest, log_p - ops.log1p(-ops.exp(log_p)))
    return binary_focal(without_infinite(u, labels) - margin, gamma)


def _less_the_largest(logits: Any) -> Any:
    """Logits less the largest of each example where it is finite: several of 1e4 add up exactly."""
    if keras.backend.backend() == "torch":  # whose compiler can't follow what Keras' `max` does
        largest = ops.amax(logits, axis=-1, keepdims=True)
    else:  # also of no examples, where TensorFlow's `amax` fails
        largest = ops.max(logits, axis=-1, keepdims=True, initial=_LOWEST)
    largest = ops.stop_gradient(largest)
    return logits - ops.where(ops.isfinite(largest), largest, 0.0)


def _without_own(logits: Any, class_ids: Any) -> Any:
    """Logits in which each example's own class is as if it were not there."""
    if keras.backend.backend() != "tensorflow" or isinstance(logits, keras.KerasTensor):
        classes = ops.arange(logits.shape[-1], dtype=class_ids.dtype)  # compiled into the sum
        return ops.where(ops.equal(ops.expand_dims(class_ids, -1), classes), _NO_LOGIT, logits)
    rows = ops.reshape(logits, (-1, logits.shape[-1]))
    ids = ops.reshape(class_ids, (-1,))
    at = ops.stack([ops.arange(ops.shape(ids)[0], dtype=ids.dtype), ids], axis=-1)
    left_out = ops.full_like(ids, _NO_LOGIT, dtype=logits.dtype)
    return ops.reshape(ops.scatter_update(rows, at, left_out), ops.shape(logits))
