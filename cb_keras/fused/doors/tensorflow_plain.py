"""The shortest way to the op in eager code of TensorFlow, for tensors that need no looking into.

What a loss does with any other arguments, and what Keras does to reduce the losses, are some twenty
eager operations, each of which takes as long as the op does on a small batch.
"""

import functools
from typing import Any

from cb_keras import private_api
from cb_keras.fused.doors import tensorflow as door
from cb_keras.fused.kinds import Form, Kind, averages, traits


def call_is_replaced(loss: Any) -> bool:
    """Whether somebody put another `call` on this loss, as wrappers and mocks do."""
    return "call" in vars(loss)


def are_plain(labels: Any, logits: Any, num_classes: int, look_at_values: bool) -> bool:
    """Whether these are eager class ids `[N]` and logits `[N, C]` that the op takes as they come.

    Args:
        labels: `y_true` as it was given.
        logits: `y_pred` as it was given.
        num_classes: C.
        look_at_values: Whether the logits' values are still to be looked at.
    """
    import tensorflow as tf

    eager = _eager_tensor()
    if look_at_values or type(labels) is not eager or type(logits) is not eager:
        return False
    size = labels.shape
    return (
        labels.dtype in (tf.int64, tf.int32)
        and len(size) == 1
        and size[0] > 0
        and logits.shape == (size[0], num_classes)
        and tf.executing_eagerly()
        and not private_api.marked_by_keras(logits)
        and not tf.distribute.has_strategy()
        and door.why_not(logits.dtype.name) is None
        and door.names_bad_labels(logits)
    )


def loss(
    kind: Kind,
    gamma: float,
    label_smoothing: float,
    adjusts: int,
    labels: Any,
    logits: Any,
    class_weights: Any,
    reduction: str | None,
) -> Any:
    """The reduced loss of what `are_plain` accepts; None where the op refuses a class id.

    Args:
        kind: Name of the loss.
        gamma: Its focusing parameter, if it has one.
        label_smoothing: Its label smoothing, or 0.
        adjusts: What follows the class weights.
        labels: Class ids.
        logits: Logits.
        class_weights: `[C]`, or `[1 + n, C]`.
        reduction: As of `keras.losses.Loss`.
    """
    import tensorflow as tf

    averaged = averages(reduction)
    form = _form(kind, label_smoothing, adjusts)
    applied_gamma = gamma if traits(kind).takes_gamma else 0.0
    upstream: Any = door.Mean(1) if averaged else 1.0
    try:
        weights = tf.convert_to_tensor(class_weights)
        losses = door.of_rows(form, labels, logits, weights, applied_gamma, upstream)
    except tf.errors.InvalidArgumentError:
        return None
    if not averaged and reduction != "sum":
        return losses
    size, number, axis = _constants(labels.shape[0])

    def total(losses: Any) -> Any:
        value = tf.raw_ops.Sum(input=losses, axis=axis)

        def backward(upstream: Any) -> tuple[Any]:
            share = upstream / number if averaged else upstream
            return (tf.raw_ops.Fill(dims=size, value=share),)

        return value / number if averaged else value, backward

    if not private_api.could_record():
        return total(losses)[0]
    return private_api.with_custom_gradient(total, losses)


@functools.lru_cache(maxsize=16)
def _constants(number: int) -> tuple[Any, ...]:
    """What a reduction of so many losses is told; to make these takes as long as to use them."""
    import tensorflow as tf

    return tf.constant([number]), tf.constant(float(number)), tf.constant([0])


@functools.cache
def _eager_tensor() -> Any:
    import tensorflow as tf

    with tf.init_scope():
        return type(tf.constant(0))


@functools.lru_cache(maxsize=256)
def _form(kind: Kind, label_smoothing: float, adjusts: int) -> Form:
    return Form(kind, label_smoothing, None, adjusts)
