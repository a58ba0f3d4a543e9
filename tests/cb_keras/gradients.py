"""Gradients and compilation on whatever backend Keras runs, for the tests."""

import contextlib

import keras
import numpy as np
from keras import ops

from cb_keras import private_api

BACKEND = keras.backend.backend()


def float64_enabled(dtype="float64"):
    """Context in which float64 stays float64; JAX rounds it to float32 elsewhere."""
    if BACKEND != "jax" or dtype != "float64":
        return contextlib.nullcontext()
    return private_api.jax_float64()


def evaluate(function, x, dtype="float32"):
    """`function(x)` as a numpy array, with x a tensor of `dtype`."""
    with float64_enabled(dtype):
        return ops.convert_to_numpy(function(ops.convert_to_tensor(x, dtype=dtype)))


def value_and_gradient(function, x, dtype="float32"):
    """`function(x)` and the gradient of its sum with respect to x, numpy arrays."""
    with float64_enabled(dtype):
        x = ops.convert_to_tensor(x, dtype=dtype)
        value, gradient = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[BACKEND](
            function, x
        )
        return ops.convert_to_numpy(value), ops.convert_to_numpy(gradient)


def central_differences(function, x, step=1e-5):
    """Gradient of `sum(function(x))` by float64 central differences, one element at a time."""
    gradient = np.zeros_like(x, dtype="float64")
    for index in np.ndindex(x.shape):
        up, down = x.astype("float64"), x.astype("float64")
        up[index] += step
        down[index] -= step
        rise = evaluate(function, up, "float64").sum() - evaluate(function, down, "float64").sum()
        gradient[index] = rise / (2 * step)
    return gradient


def compiled(function):
    """`function` compiled by XLA; PyTorch, where Keras compiles nothing, runs it as it is."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    return function


def _tensorflow(function, x):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
        total = tf.reduce_sum(value)
    return value, tape.gradient(total, x)


def _jax(function, x):
    import jax

    def total(x):
        value = function(x)
        return value.sum(), value

    # Compiled as a whole, as JAX's users do: each operation by itself would take much longer.
    (_, value), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(x)
    return value, gradient


def _torch(function, x):
    x = x.detach().clone().requires_grad_(True)
    value = function(x)
    value.sum().backward()
    return value.detach(), x.grad
