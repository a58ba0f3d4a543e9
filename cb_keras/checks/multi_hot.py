"""Dense labels by value: what is outside of [0, 1] is refused wherever values can be seen."""

from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from cb_keras import tracing
from cb_keras.checks.nan import nan_where
from cb_keras.checks.seen import in_tensorflow_graph, values_of

_ROUNDING = 1e-3  # above 1, of soft labels
_WORDS = "multi-hot labels are 0 or 1, or soft ones in between."
_WORDS_OF_ONE = "one-hot labels are 0 or 1, or soft ones in between."
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


def refuse_invalid_one_hot(labels: Any, losses: Any) -> Any:
    """Losses of a softmax, or an error where a dense label is outside of [0, 1].

    The loss and the gradient of such an example are NaN where values can't be seen.

    Args:
        labels: A tensor `[..., C]`.
        losses: Their losses `[...]`, or NaN.

    Raises:
        ValueError: As `refuse_invalid_multi_hot`.
    """
    invalid = ops.any(invalid_multi_hot(ops.cast(labels, "float32")), axis=-1)
    losses = losses * nan_where(invalid, ops.ones_like(losses))
    return refuse_invalid_multi_hot(labels, losses, of_one=True)


def refuse_invalid_multi_hot(labels: Any, losses: Any, of_one: bool = False) -> Any:
    """Losses as they are, or an error that names the first label outside of [0, 1].

    The formulas make NaN of the loss of such an example. So labels, which are many, are looked at
    only where a loss is NaN. Where nothing is checked is said in `refuse_invalid_class_ids`.

    Args:
        labels: A tensor `[..., L]`.
        losses: Their losses `[...]`.
        of_one: Whether they are of one class of many, for the words.

    Raises:
        ValueError: A label is outside of [0, 1]; in a graph tf.errors.InvalidArgumentError, when
            it runs.
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

        return tf.cond(tf.reduce_any(bad), refuse, tf.no_op)

    assertion = tf.cond(tf.reduce_any(tf.math.is_nan(losses)), look, tf.no_op)
    with tf.control_dependencies([assertion]):
        return tf.identity(losses)
