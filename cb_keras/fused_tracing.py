"""Who traces a function of TensorFlow: what the fused op needs to know, and nobody says.

Both look at the frames of the Python stack, for TensorFlow has no public way.
"""

import functools
import sys
from types import FrameType
from typing import Any


def inside_xla() -> bool:
    """Whether a `tf.function(jit_compile=True)` is being traced; its graph does not say so."""
    import tensorflow as tf

    if tf.executing_eagerly():
        return False
    function = _function_class()
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self") if frame.f_code.co_argcount else None
        if isinstance(owner, function) and owner._jit_compile:
            return True
        frame = frame.f_back
    return False


def being_exported() -> bool:
    """Whether a function is being traced by Keras' exports or while a SavedModel is written."""
    import tensorflow as tf

    if tf.executing_eagerly():
        return False
    from tensorflow.python.saved_model import save_context

    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        # Keras traces before it saves; LiteRT, ONNX and OpenVINO are reached in the same way.
        if str(frame.f_globals.get("__name__")).startswith("keras.src.export."):
            return True
        frame = frame.f_back
    return save_context.in_save_context()


@functools.cache
def _function_class() -> Any:
    import tensorflow as tf

    return type(tf.function(lambda: None))
