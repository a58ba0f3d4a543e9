"""A warning where predictions that are taken for logits are seen to be probabilities."""

import contextlib
import warnings
from typing import Any

import keras
import numpy as np
from keras import ops

from cb_keras import private_api


def warn_of_activation(
    y_pred: Any,
    look_at_values: bool,
    name: str = "`y_pred` is taken for logits (`from_logits=True`)",
    remedy: str = "give the loss from_logits=False",
    stacklevel: int = 3,
) -> bool:
    """Warns where predictions that are taken for logits are known to be probabilities.

    Known are the outputs of a softmax or sigmoid, by Keras' mark or by TensorFlow's op, and, where
    `look_at_values`, rows of eager values that are positive and sum to 1.

    Args:
        y_pred: The predictions.
        look_at_values: As above.
        name: What is taken for logits, in words.
        remedy: What else can be done than to leave the activation out.
        stacklevel: Whose line the warning names, as in `warnings.warn`.

    Returns:
        Whether there was something to see: a mark, an op or values.
    """
    found, values = _activation_of(y_pred), None
    if found is None and look_at_values:
        values = _eager_values(y_pred)
        if values is not None and _are_distributions(values):
            found = "rows of positive numbers that sum to 1"
    if found:
        warnings.warn(
            f"{name}, but it is {found}: leave the activation out of the model's last layer, or "
            f"{remedy}.",
            stacklevel=stacklevel,
        )
    return found is not None or values is not None


def _activation_of(y_pred: Any) -> str | None:
    if private_api.keras_logits(y_pred) is not None:
        return "the output of a softmax or sigmoid activation"
    if keras.backend.backend() != "tensorflow":
        return None
    with contextlib.suppress(AttributeError):  # eager tensors and arrays come from no op
        op = y_pred.op
        while op.type in ("Cast", "Identity", "Reshape") and op.inputs:
            op = op.inputs[0].op
        return f"the output of {op.type}" if op.type in ("Softmax", "Sigmoid") else None
    return None


def _eager_values(y_pred: Any) -> Any:
    """Float64 numpy array of the values, or None where a function is traced or compiled."""
    if keras.backend.backend() == "torch":
        import torch

        if torch.compiler.is_compiling():
            return None
    try:
        return np.asarray(ops.convert_to_numpy(y_pred), "float64")
    except Exception:  # a tensor of a graph has no values: each backend raises another error
        return None


def _are_distributions(values: Any) -> bool:
    if values.ndim < 2 or values.shape[-1] < 2 or values.size == 0 or not (values >= 0).all():
        return False
    return bool(np.allclose(values.sum(-1), 1, rtol=0, atol=0.01))
