"""The contenders of benchmarks.frameworks on JAX."""

import jax
import jax.numpy as jnp

from benchmarks.losses import LOSSES


def has_gpu():
    return jax.default_backend() == "gpu"


def start(cores):
    """Nothing: JAX uses all cores that it may."""


def arrays(problem):
    """Labels, logits and weights where they are computed with."""
    return [
        jnp.asarray(a) for a in (problem.labels.astype("int32"), problem.logits, problem.weights)
    ]


def step(arrays, mode, mean_loss):
    """Function without arguments that returns the loss and its gradient."""
    labels, logits, *weights = arrays

    def loss_and_gradient(logits, labels, *weights):
        return jax.value_and_grad(lambda z: mean_loss(labels, z, *weights))(logits)

    if mode == "jit":
        loss_and_gradient = jax.jit(loss_and_gradient)
    return lambda: loss_and_gradient(logits, labels, *weights)


def composed(problem):
    """Mean loss in JAX's own functions."""
    losses = LOSSES[problem.loss].jax
    return lambda labels, logits, weights: (weights[labels] * losses(jax, labels, logits)).mean()


def copy(arrays):
    logits = arrays[1]
    return lambda: jnp.copy(logits)


def finish(result):
    """Waits until `result` is computed."""
    return jax.block_until_ready(result)
