"""Who traces a function of TensorFlow, XLA or an export, and what its graph can say.

`inside_xla` and `being_exported` look at the frames of the Python stack, for TensorFlow has no
public way to ask. What they look for there is named in `cb_keras.private_api`.
"""

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from cb_keras import private_api


def traced() -> bool:
    """Whether TensorFlow traces a function."""
    import tensorflow as tf

    return not tf.executing_eagerly()


def inside_xla() -> bool:
    """Whether a `tf.function(jit_compile=True)` is being traced; its graph does not say so."""
    import tensorflow as tf

    if tf.executing_eagerly():
        return False
    function = private_api.function_type()
    for frame in _callers():
        owner = frame.f_locals.get("self") if frame.f_code.co_argcount else None
        if isinstance(owner, function) and private_api.compiled_by_xla(owner):
            return True
    return False


def without_assertions() -> bool:
    """Whether a function is traced for a compiler that drops assertions: XLA, also on TPUs."""
    import tensorflow as tf

    on_tpu = isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy)
    return on_tpu or inside_xla()


def refused(labels: Any, bad: Any, words: str) -> Any:
    """An assertion that fails with the first of the `bad` labels, its position, and `words`.

    Numbers and constant texts alone: a function may be compiled by XLA after it was traced, which
    leaves assertions out, but knows no operations on texts.
    """
    import tensorflow as tf

    flat = tf.argmax(tf.cast(tf.reshape(bad, [-1]), tf.int32), output_type=tf.int32)
    value = tf.gather(tf.reshape(labels, [-1]), flat)
    position: list[Any] = []
    for axis in reversed(range(len(labels.shape))):
        size = tf.shape(labels)[axis]
        position.insert(0, flat % size)
        flat //= size
    data = ["`y_true` holds", value, "at position", tf.stack(position or [0]), words]
    return tf.raw_ops.Assert(condition=False, data=data, summarize=8)


def being_exported() -> bool:
    """Whether a function is being traced by Keras' exports or while a SavedModel is written."""
    import tensorflow as tf

    if tf.executing_eagerly():
        return False
    # Keras traces before it saves; LiteRT, ONNX and OpenVINO are reached in the same way.
    modules = (str(frame.f_globals.get("__name__")) for frame in _callers())
    if any(module.startswith(private_api.KERAS_EXPORT_MODULES) for module in modules):
        return True
    return private_api.in_save_context()


def _callers() -> Iterator[FrameType]:
    """The frames of the stack, from the inside out."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back
