"""The door for JAX: eager, compiled, mapped, differentiated, on rows spread over devices."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cb_keras.fused.doors import jax_calls, jax_primitives
from cb_keras.fused.kinds import Form, traits

_PLATFORMS = {"cpu": "cpu", "gpu": "cuda"}  # JAX's name of a backend -> of what it lowers for


def why_not(dtype: str) -> str | None:
    """Why the op can't be used for logits of this dtype, here and now, or None if it can."""
    platforms, why = jax_calls.register()
    if not platforms:
        return why
    backend = jax.default_backend()
    if _PLATFORMS.get(backend) not in platforms:
        return f"JAX computes on {backend}, for which the core library has no code"
    if dtype not in ("float32", "bfloat16", "float16"):
        return f"it has no kernel for {dtype} logits"
    return None


def prepared(
    form: Form,
    labels: Any,
    logits: Any,
    class_weights: Any,
    gamma: float,
    expected_upstream: Any,
    sparse: bool,
) -> Any:
    """Losses, as `cb_keras.fused.prepared` says; NaN of a class id that is not a class."""
    classes = logits.shape[-1]
    labels = _class_ids(labels) if sparse else _as_float32(labels)
    losses = jax_primitives.losses(
        _reshaped(logits, (-1, classes)),
        _reshaped(labels, (-1,) if sparse else (-1, classes)),
        _as_float32(class_weights),
        _scalar(expected_upstream),
        form,
        gamma if traits(form.kind).takes_gamma else 0.0,
    )
    return _reshaped(losses, logits.shape[:-1])


def mean_upstream(y_pred: Any) -> Any:
    """What each loss of `y_pred` [..., C] gets from their mean, and from nothing else."""
    number = math.prod(y_pred.shape[:-1])
    if not isinstance(number, int):  # of a size that is known at run time alone
        return 1.0 / jnp.maximum(jnp.asarray(number, jnp.float32), 1.0)
    # As Keras' own mean, to the last bit.
    return np.float32(1.0) / np.float32(number) if number else np.float32(1.0)


def _as_float32(array: Any) -> Any:
    """The array, itself where it is float32 already, since every call of JAX costs time."""
    is_float32 = isinstance(array, jax.Array) and array.dtype == np.float32
    return array if is_float32 else jnp.asarray(array, jnp.float32)


def _scalar(number: Any) -> Any:
    if isinstance(number, int | float | np.generic):
        return np.float32(number)
    return jnp.asarray(number, jnp.float32)


def _class_ids(labels: Any) -> Any:
    """Labels in a type that the core reads, without any change to what they say."""
    if labels.dtype in ("int32", "int64", "uint64", "float32", "float64"):
        return labels
    if labels.dtype == "uint32":  # there may be no 64 bits; what is too large is no class either
        labels = jnp.minimum(labels, np.uint32(2**31 - 1))
    return labels.astype(jnp.int32)


def _reshaped(array: Any, shape: tuple[int, ...]) -> Any:
    return array if array.ndim == len(shape) else array.reshape(shape)
