"""Class-balanced binary cross-entropy: one output, or labels that are each a yes or no."""

from typing import Any

import keras
from keras import ops
from numpy.typing import ArrayLike

from cb_keras.checks import (
    check_flag,
    check_gamma,
    check_ignored_label,
    check_label_smoothing,
    check_pairs_of_weights,
    invalid_multi_hot,
    nan_where,
    per_label,
    refuse_invalid_multi_hot,
    to_tensors,
    warn_of_activation,
)
from cb_keras.functional.focal import as_logits, binary_focal
from cb_keras.functional.preparation import Prepared, prepare_per_label, registered
from cb_keras.functional.weighting import tame_where


@registered
def class_balanced_binary_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    class_weights: ArrayLike | None = None,
    gamma: float = 0.0,
    from_logits: bool = True,
    *,
    label_smoothing: float = 0.0,
    ignore_class: int | None = None,
) -> Any:
    """Class-balanced binary cross-entropy of one output or of L labels.

    `sum_l [ y_l w1_l (1 - p_l)^gamma * -log p_l + (1 - y_l) w0_l p_l^gamma * -log(1 - p_l) ]` with
    `p = sigmoid(z)`, w0 and w1 a label's weights where it is negative and where it is positive. A
    soft label mixes the two terms.

    Args:
        y_true: 0/1 labels, or soft ones in between: `[..., L]`, of one output also `[...]`.
        y_pred: Logits `[..., L]`, or probabilities with `from_logits=False`. `[N]` are N examples
            of one output, where `class_weights` are not those of several labels.
        class_weights: `[w0, w1]`, or a pair per label, `[L, 2]`; None for weight 1.
        gamma: Focusing parameter, a finite float >= 0; 0 is binary cross-entropy.
        from_logits: Whether `y_pred` are logits.
        label_smoothing: Share s in [0, 1]: a label counts s/2 as its opposite, under the weight of
            what it is.
        ignore_class: Label of those that are not known, such as -1, which have loss and gradient 0;
            None: all count.

    Returns:
        Loss per example, summed (not averaged) over labels, shape `[...]`, at least float32.

    Raises:
        ValueError: An argument is out of range; shapes or dtypes that do not fit together; a label
            outside of [0, 1], where it can be seen. Elsewhere its example's loss is NaN.

    Source: Cui et al., CVPR 2019, equations 9 and 11, of two classes.
    """
    gamma, label_smoothing = check_gamma(gamma), check_label_smoothing(label_smoothing)
    ignore_class = check_ignored_label(ignore_class)
    labels, predictions = to_tensors(y_true, y_pred)
    if check_flag("from_logits", from_logits):
        warn_of_activation(y_pred, look_at_values=False)
    weights, number = None, None
    if class_weights is not None:
        if not (ops.is_tensor(class_weights) or isinstance(class_weights, keras.Variable)):
            class_weights = check_pairs_of_weights("class_weights", class_weights)
        weights = ops.convert_to_tensor(class_weights)
        number = weights.shape[0] if len(weights.shape) == 2 else 1
    labels, predictions = per_label(labels, predictions, number, number in (None, 1))
    prepared = prepare_per_label(labels, predictions, weights, ignore_class)
    losses = binary(prepared, gamma, from_logits, label_smoothing)
    return refuse_invalid_multi_hot(prepared.labels, losses)


def binary(
    prepared: Prepared, gamma: float, from_logits: bool = True, label_smoothing: float = 0.0
) -> Any:
    """The loss of arguments that are prepared, the weights `[2]` or `[L, 2]`."""
    labels = prepared.labels
    positive, negative = labels, 1.0 - labels
    if prepared.weights is not None:
        negative = negative * prepared.weights[..., 0]
        positive = positive * prepared.weights[..., 1]
    if label_smoothing:
        other = label_smoothing / 2
        positive, negative = (
            (1 - other) * positive + other * negative,
            (1 - other) * negative + other * positive,
        )
    logits = as_logits(prepared.predictions, from_logits)
    losses = positive * binary_focal(_finite_where_zero(positive, logits), gamma)
    losses += negative * binary_focal(-_finite_where_zero(negative, logits), gamma)
    return sum_over_labels(losses, prepared)


def sum_over_labels(losses: Any, prepared: Prepared) -> Any:
    """Sum over the labels that count, NaN for an example that has one outside of [0, 1]."""
    labels, void = prepared.labels, prepared.void
    total = ops.sum(losses if void is None else ops.where(void, 0.0, losses), axis=-1)
    invalid = ops.any(invalid_multi_hot(labels), axis=-1)
    return total * nan_where(invalid, ops.ones_like(total))


def _finite_where_zero(share: Any, logits: Any) -> Any:
    """Logits whose loss is finite where it is multiplied by 0."""
    return tame_where(ops.equal(share, 0.0), logits)
