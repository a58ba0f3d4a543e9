"""What can be seen of a tensor's values without waiting for an accelerator."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


def in_tensorflow_graph() -> bool:
    """Whether TensorFlow traces a function, whose tensors have values only when it runs."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.executing_eagerly()


def values_of(tensor: Any) -> NDArray[Any] | None:
    """The values of a tensor, or None where they can't be seen or would have to be waited for.

    They can't where a function is traced or compiled. JAX and PyTorch queue work on accelerators,
    and a look at a value there waits for all of it: only what is on the CPU is looked at.
    TensorFlow's eager tensors are looked at wherever they are.
    """
    if isinstance(tensor, keras.KerasTensor):
        return None
    read = {"tensorflow": _of_tensorflow, "jax": _of_jax, "torch": _of_torch}
    return read.get(keras.backend.backend(), np.asarray)(tensor)  # NumPy's own show theirs


def _of_tensorflow(tensor: Any) -> NDArray[Any] | None:
    return tensor.numpy() if hasattr(tensor, "numpy") else None  # tensors of graphs have none


def _of_jax(tensor: Any) -> NDArray[Any] | None:
    import jax

    if isinstance(tensor, jax.core.Tracer):
        return None
    if any(device.platform != "cpu" for device in tensor.devices()):
        return None
    if not tensor.is_fully_addressable:  # part of it is on other hosts
        return None
    return np.asarray(tensor)


def _of_torch(tensor: Any) -> NDArray[Any] | None:
    import torch

    if torch.compiler.is_compiling() or tensor.device.type != "cpu":
        return None
    try:
        return tensor.detach().numpy()
    except (RuntimeError, TypeError):  # inside torch.func.vmap; a type that numpy does not have
        return None
