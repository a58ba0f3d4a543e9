"""Which examples of a batch count, and how much: Keras' masks and sample weights."""

from typing import Any

from keras import ops

from cb_keras.checks import known_shape, sizes_fit


def along_leading(name: str, values: Any, static: Any, leading: Any) -> Any:
    """`values` broadcast to all examples: they are of the first axes, or of all and one of size 1.

    Numpy would lay weights [N] along the last axis of examples [N, H, W], also where N is W.

    Args:
        name: The argument's name, for the message.
        values: Sample weights or a mask.
        static: Static shape `[...]` of the examples.
        leading: Their shape at run time.

    Raises:
        ValueError: They fit no examples of this shape.
    """
    values = ops.convert_to_tensor(values)
    shape, rank = known_shape(name, values), len(static)
    if len(shape) == rank + 1 and shape[-1] == 1:
        values = ops.squeeze(values, -1)
    elif len(shape) < rank:
        values = ops.reshape(values, (*ops.shape(values), *[1] * (rank - len(shape))))
    if not sizes_fit(tuple(values.shape), static, one_fits=True):
        raise ValueError(
            f"`{name}` has shape {shape}, which fits no examples of shape {static}: give one "
            "value per example, or for the first axes only, such as [N] or [N, 1] for [N, T]."
        )
    return ops.broadcast_to(values, leading)


def left_out(mask: Any, sample_weight: Any) -> Any:
    """Which examples are masked or of sample weight 0, bool; one of the two may be None."""
    parts = [ops.logical_not(ops.cast(mask, "bool"))] if mask is not None else []
    parts += [ops.equal(sample_weight, 0)] if sample_weight is not None else []
    return ops.logical_or(*parts) if len(parts) == 2 else parts[0]
