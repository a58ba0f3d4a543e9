"""Class ids by value: what is not a class is refused in words wherever values can be seen."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cb_keras import tracing
from cb_keras.checks.labels import invalid_class_ids
from cb_keras.checks.seen import in_tensorflow_graph, values_of

FROM_ONE = " Labels start at 1? Then take 1 off: labels - 1."
_VOID = (
    " Where {} marks examples that do not count, give ignore_class={}, or a `sample_weight` of 0."
)
_VOID_IN_GRAPH = (  # which can't put a value into a text that XLA, too, lets through
    " Where it marks examples that do not count, give it as `ignore_class`, or a `sample_weight` "
    "of 0."
)


def refuse_invalid_class_ids(
    class_ids: Any, num_classes: int, ignore_class: int | None = None
) -> Any:
    """Class ids as they are, or an error that names the first that is not a class.

    In a graph of TensorFlow the ids that are returned wait for an assertion, made on the CPU, where
    labels come from. Nothing is checked in code that XLA, JAX or PyTorch compiles, on TPUs, and on
    accelerators of JAX and PyTorch: there the losses make NaN of such an example.

    Args:
        class_ids: A tensor of real numbers.
        num_classes: C.
        ignore_class: An id that is allowed as well.

    Raises:
        ValueError: An id is outside of `[0, C)`, or not a whole number; in a graph
            tf.errors.InvalidArgumentError, when it runs.
    """
    if in_tensorflow_graph():
        return _asserted(class_ids, num_classes, ignore_class)
    values = values_of(class_ids)
    if values is None or values.size == 0:
        return class_ids
    if values.dtype.kind in "iu" and values.min() >= 0 and values.max() < num_classes:
        return class_ids
    bad = _invalid(values, num_classes, ignore_class)
    if bad.any():
        raise ValueError(_message(values, bad, num_classes))
    return class_ids


def starts_at_one(smallest: Any, largest: Any, num_classes: int) -> bool:
    """Whether labels between these two look like classes that are numbered from 1 to C."""
    return bool(smallest >= 1 and largest == num_classes)


def _invalid(values: NDArray[Any], num_classes: int, ignore_class: int | None) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):  # NaN is in no range
        valid = (values >= 0) & (values < num_classes)
        if values.dtype.kind == "f":
            valid &= values == np.floor(values)
        if ignore_class is not None:
            valid |= values == ignore_class
    return ~valid


def _not_a_class(num_classes: int) -> str:
    return (
        f"which is not a class: with {num_classes} outputs a class id is a whole number in "
        f"[0, {num_classes})."
    )


def _message(values: NDArray[Any], bad: NDArray[np.bool_], num_classes: int) -> str:
    position = tuple(int(i) for i in np.argwhere(bad)[0])
    value = values[position]
    hint = ""
    if starts_at_one(values.min(), values.max(), num_classes):
        hint = FROM_ONE
    elif value == np.floor(value):
        hint = _VOID.format(f"{value:.0f}", f"{value:.0f}")
    found = f"`y_true` holds {value} at position {list(position)}, "
    return found + _not_a_class(num_classes) + hint


def _asserted(class_ids: Any, num_classes: int, ignore_class: int | None) -> Any:
    import tensorflow as tf

    if tracing.without_assertions():
        return class_ids
    with tf.device("CPU:0"):
        bad = invalid_class_ids(class_ids, num_classes)
        if ignore_class is not None:
            wide = class_ids if class_ids.dtype.is_floating else tf.cast(class_ids, tf.int64)
            bad &= wide != tf.cast(ignore_class, wide.dtype)

        def refuse() -> Any:
            from_one = (tf.reduce_min(class_ids) >= 1) & (
                tf.reduce_max(class_ids) == tf.cast(num_classes, class_ids.dtype)
            )
            tail = _not_a_class(num_classes)
            return tf.cond(
                from_one,
                lambda: tracing.refused(class_ids, bad, tail + FROM_ONE),
                lambda: tracing.refused(class_ids, bad, tail + _VOID_IN_GRAPH),
            )

        assertion = tf.cond(tf.reduce_any(bad), refuse, tf.no_op)
    with tf.control_dependencies([assertion]):
        return tf.identity(class_ids)
