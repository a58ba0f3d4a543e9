"""The doors to the op: one file for each backend of Keras that has one.

A door has three functions:

    why_not(dtype)          why the op can't be used for logits of this dtype, here and now, or None
    prepared(form, labels, logits, class_weights, gamma, expected_upstream, sparse)
                            the losses, as `cb_keras.fused.prepared` says
    mean_upstream(y_pred)   what each loss gets from their mean
"""

import functools
import importlib
import importlib.util
from types import ModuleType

import keras

NAMES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}


def find() -> tuple[ModuleType | None, str]:
    """`(the door of Keras' backend or None, why there is none)`."""
    backend = keras.backend.backend()
    if backend == "torch":  # in words that its compiler can follow
        from cb_keras.fused.doors import torch

        return torch, ""
    return _find(backend)


@functools.cache
def _find(backend: str) -> tuple[ModuleType | None, str]:
    name = f"{__name__}.{backend}"
    if backend not in NAMES or importlib.util.find_spec(name) is None:
        return None, f"Keras runs on {backend}, for which the op has no door"
    try:
        return importlib.import_module(name), ""
    except (ImportError, AttributeError) as error:  # of a version that lacks what the door needs
        return None, f"its door to {NAMES[backend]} can't be imported: {error}"
