"""Whether XLA or an export traces a function of TensorFlow, where the fused op can't be used.

They look at the frames of the Python stack, for TensorFlow has no public way to ask. What
they look for there is named in `cb_keras.private_api`.
"""

import sys
from collections.abc import Iterator
from types import FrameType

from cb_keras import private_api


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
