"""The contenders of benchmarks.frameworks on JAX."""

import jax
import jax.numpy as jnp

from benchmarks.losses import LOSSES


def has_gpu():
    return jax.default_backend() == "gpu"


def start(cores):
    """Nothing: JAX uses all cores that it may."""


def step(problem, mode, mean_loss):
    """Function without arguments that returns the loss and its gradient."""
    labels = jnp.asarray(problem.labels.astype("int32"))
    logits, weights = jnp.asarray(problem.logits), jnp.asarray(problem.weights)

    def loss_and_gradient(logits, labels, weights):
        return jax.value_and_grad(lambda z: mean_loss(labels, z, weights))(logits)

    if mode == "jit":
        loss_and_gradient = jax.jit(loss_and_gradient)
    return lambda: loss_and_gradient(logits, labels, weights)


def composed(problem):
    """Mean loss in JAX's own functions."""
    losses = LOSSES[problem.loss].jax
    return lambda labels, logits, weights: (weights[labels] * losses(jax, labels, logits)).mean()


def copy(problem):
    logits = jnp.asarray(problem.logits)
    return lambda: jnp.copy(logits)


def finish(result):
    """Waits until `result` is computed."""
    return jax.block_until_ready(result)
