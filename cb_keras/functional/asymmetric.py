"""Asymmetric loss for multi-label classification."""

import math
from typing import Any

from keras import ops
from numpy.typing import ArrayLike

from cb_keras.checks import (
    check_flag,
    check_gamma,
    check_ignored_label,
    check_margin,
    per_label,
    refuse_invalid_multi_hot,
    to_tensors,
    warn_of_activation,
)
from cb_keras.functional.binary import sum_over_labels
from cb_keras.functional.focal import as_logits, binary_focal
from cb_keras.functional.preparation import Prepared, prepare_per_label, registered
from cb_keras.functional.weighting import tame_where

_SMALLEST = 1.2e-38  # what is below it is 0 in float32


@registered
def asymmetric_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    gamma_negative: float = 4.0,
    gamma_positive: float = 1.0,
    margin: float = 0.05,
    from_logits: bool = True,
    *,
    ignore_class: int | None = None,
) -> Any:
    """Asymmetric loss of L labels that are each a yes or no.

    `-sum_l [ y_l (1 - p_l)^g+ log p_l + (1 - y_l) q_l^g- log(1 - q_l) ]` with `p = sigmoid(z)` and
    `q = max(p - margin, 0)`: easy negatives, p below the margin, cost nothing. No clamp on p, so
    that the gradient of a positive label is -1, not 0, at a logit of -100.

    Args:
        y_true: 0/1 labels `[..., L]`, or soft ones in between; of one output also `[...]`.
        y_pred: Logits `[..., L]`, or probabilities with `from_logits=False`.
        gamma_negative: Focusing parameter g- of negative labels, a finite float >= 0.
        gamma_positive: Focusing parameter g+ of positive labels, a finite float >= 0.
        margin: What p of a negative label is lowered by, in [0, 1).
        from_logits: Whether `y_pred` are logits.
        ignore_class: Label of those that are not known, such as -1, which have loss and gradient 0;
            None: all count.

    Returns:
        Loss per example, summed (not averaged) over labels, shape `[...]`, at least float32.

    Raises:
        ValueError: An argument is out of range; shapes or dtypes that do not fit together; a label
            outside of [0, 1], where it can be seen. Elsewhere its example's loss is NaN.

    Source: Ridnik et al., "Asymmetric Loss For Multi-Label Classification", ICCV 2021, equations
    4 to 7.
    """
    gamma_negative = check_gamma(gamma_negative, "gamma_negative")
    gamma_positive = check_gamma(gamma_positive, "gamma_positive")
    margin, ignore_class = check_margin(margin), check_ignored_label(ignore_class)
    labels, predictions = to_tensors(y_true, y_pred)
    if check_flag("from_logits", from_logits):
        warn_of_activation(y_pred, look_at_values=False)
    labels, predictions = per_label(labels, predictions, None, vector_is_one_output=False)
    prepared = prepare_per_label(labels, predictions, None, ignore_class)
    losses = asymmetric(prepared, gamma_negative, gamma_positive, margin, from_logits)
    return refuse_invalid_multi_hot(prepared.labels, losses)


def asymmetric(
    prepared: Prepared,
    gamma_negative: float,
    gamma_positive: float,
    margin: float,
    from_logits: bool = True,
) -> Any:
    """The loss of arguments that are prepared."""
    labels, logits = prepared.labels, as_logits(prepared.predictions, from_logits)
    for_positive = tame_where(ops.equal(labels, 0.0), logits)
    for_negative = tame_where(ops.equal(labels, 1.0), logits)
    losses = labels * binary_focal(for_positive, gamma_positive)
    losses += (1.0 - labels) * _of_negative(for_negative, gamma_negative, margin)
    return sum_over_labels(losses, prepared)


def _of_negative(logits: Any, gamma: float, margin: float) -> Any:
    """`q^gamma * -log(1 - q)`, elementwise, `q = max(sigmoid(z) - margin, 0)`."""
    if margin < _SMALLEST:
        return binary_focal(-logits, gamma)
    # p - m = p (1 - m) (1 - exp(z_m - z)) with sigmoid(z_m) = m: nothing cancels near the margin.
    above = ops.relu(logits - (math.log(margin) - math.log1p(-margin)))
    not_p = ops.sigmoid(-logits)
    p = ops.where(logits > 0, 1.0 - not_p, ops.sigmoid(logits))  # its slope is not_p, not 1 - 1
    q = p * (1.0 - margin) * -ops.expm1(-above)
    # -log(1 - q) from q where it is small, from 1 - q where that is.
    small = -ops.log1p(-ops.where(q <= 0.5, q, 0.5))
    large = -ops.log(not_p + margin)
    crossentropy = ops.where(q <= 0.5, small, large)
    if gamma == 0.0:
        return crossentropy
    # The slope of q^gamma at 0 is infinite for gamma < 1, and 0 times infinity would be NaN.
    is_easy = ops.logical_not(q > 0.0)
    return ops.where(is_easy, q, ops.power(ops.where(is_easy, 1.0, q), gamma)) * crossentropy
