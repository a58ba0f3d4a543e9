"""Dense labels by value: what is outside of [0, 1] is refused wherever values can be seen.

So are those that add up to more than 1 where an example has one class, of a softmax.
"""

import functools
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from cb_keras import tracing
from cb_keras.checks.seen import in_tensorflow_graph, values_of

_ROUNDING = 1e-3  # above 1, of soft labels
_ROUNDING_OF_SUMS = 2e-2  # of thousands of them, which may have been bfloat16
_WORDS = "multi-hot labels are 0 or 1, or soft ones in between."
_WORDS_OF_ONE = "one-hot labels are 0 or 1, or soft ones in between that add up to 1."
_SEVERAL = (
    " Has an example several classes? Then take a loss that is a yes or no of each: the sigmoid, "
    "focal or binary one."
)
_SWAPPED = " Are the arguments in the order loss(y_true, y_pred)?"
_BY_SIGN = " Labels are -1/1? Then give (labels + 1) / 2."
_FROM_ONE = " Labels are 1/2? Then give labels - 1."
_UNKNOWN = (
    " Where single labels are not known, the binary and the asymmetric loss take `ignore_class`; "
    "where those of an example are not, give it a `sample_weight` of 0."
)


def invalid_multi_hot(labels: Any) -> Any:
    """Where multi-hot labels are outside of [0, 1] or NaN, bool of their shape."""
    return ops.logical_not(ops.logical_and(labels >= 0.0, labels <= 1.0 + _ROUNDING))


def invalid_rows(labels: Any, of_one: bool) -> Any:
    """Which examples have such a label, bool `[...]`.

    Args:
        labels: `[..., L]`, of a type that can hold their sum.
        of_one: Whether an example has one class, so that its labels add up to 1 at most.
    """
    if not of_one:
        return ops.any(invalid_multi_hot(labels), axis=-1)
    least, total = ops.min(labels, axis=-1), ops.sum(labels, axis=-1)  # NaN of one that is
    return ops.logical_not(ops.logical_and(least >= 0.0, total <= 1.0 + _ROUNDING_OF_SUMS))


def refuse_several_classes(labels: Any, losses: Any) -> Any:
    """Losses of a softmax, or an error where labels are outside of [0, 1] or add up to more.

    The loss and the gradient of such an example are NaN where values can't be seen.

    Args:
        labels: A tensor `[..., C]`.
        losses: Their losses `[...]`, or NaN.

    Raises:
        ValueError: As `refuse_invalid_multi_hot`.
    """
    invalid = invalid_rows(ops.cast(labels, "float32"), of_one=True)
    losses = losses * ops.where(invalid, float("nan"), ops.ones_like(losses))
    return refuse_invalid_multi_hot(labels, losses, of_one=True)


def refuse_invalid_multi_hot(labels: Any, losses: Any, of_one: bool = False) -> Any:
    """Losses as they are, or an error that names the first label outside of [0, 1].

    The formulas make NaN of the loss of such an example. So labels, which are many, are looked at
    only where a loss is NaN. Where nothing is checked is said in `refuse_invalid_class_ids`.

    Args:
        labels: A tensor `[..., L]`.
        losses: Their losses `[...]`.
        of_one: Whether an example has one class, so that its labels add up to 1 at most.

    Raises:
        ValueError: A label is outside of [0, 1], or too many are 1; in a graph
            tf.errors.InvalidArgumentError, when it runs.
    """
    if in_tensorflow_graph():
        return _asserted(labels, losses, of_one)
    seen = values_of(losses)
    if seen is not None and not np.isnan(seen).any():
        return losses
    values = values_of(labels)  # also where the losses are traced, as by jax.grad
    if values is None or values.size == 0:
        return losses
    bad = ~((values >= 0) & (values <= 1 + _ROUNDING))
    if bad.any():
        raise ValueError(_message(values, bad, of_one))
    if of_one:
        sums = np.asarray(values, "float64").sum(axis=-1)
        if (sums > 1 + _ROUNDING_OF_SUMS).any():
            position = np.argwhere(sums > 1 + _ROUNDING_OF_SUMS)[0].tolist()
            total = sums[tuple(position)]
            raise ValueError(
                f"`y_true` adds up to {total:g} at position {position}: {_WORDS_OF_ONE}{_SEVERAL}"
            )
    return losses


def _message(values: NDArray[Any], bad: NDArray[np.bool_], of_one: bool) -> str:
    position = tuple(int(i) for i in np.argwhere(bad)[0])
    hint = _SWAPPED if of_one else _UNKNOWN
    if (np.abs(values) == 1).all():
        hint = _BY_SIGN
    elif ((values == 1) | (values == 2)).all():
        hint = _FROM_ONE
    words = _WORDS_OF_ONE if of_one else _WORDS
    return f"`y_true` holds {values[position]:g} at position {list(position)}: {words}{hint}"


def _asserted(labels: Any, losses: Any, of_one: bool) -> Any:
    import tensorflow as tf

    if tracing.without_assertions():
        return losses
    values = tf.cast(labels, losses.dtype)
    words, hint = (_WORDS_OF_ONE, _SWAPPED) if of_one else (_WORDS, _UNKNOWN)

    def look() -> Any:
        bad = invalid_multi_hot(values)
        by_sign = tf.reduce_all(tf.abs(values) == 1)
        from_one = tf.reduce_all((values == 1) | (values == 2))

        def refuse() -> Any:
            return tf.case(
                [
                    (by_sign, lambda: tracing.refused(values, bad, words + _BY_SIGN)),
                    (from_one, lambda: tracing.refused(values, bad, words + _FROM_ONE)),
                ],
                default=lambda: tracing.refused(values, bad, words + hint),
            )

        return tf.cond(tf.reduce_any(bad), refuse, look_at_sums if of_one else tf.no_op)

    def look_at_sums() -> Any:
        sums = tf.reduce_sum(values, axis=-1)
        bad, words = sums > 1.0 + _ROUNDING_OF_SUMS, _WORDS_OF_ONE + _SEVERAL
        refuse = functools.partial(tracing.refused, sums, bad, words, "adds up to")
        return tf.cond(tf.reduce_any(bad), refuse, tf.no_op)

    assertion = tf.cond(tf.reduce_any(tf.math.is_nan(losses)), look, tf.no_op)
    with tf.control_dependencies([assertion]):
        return tf.identity(losses)
