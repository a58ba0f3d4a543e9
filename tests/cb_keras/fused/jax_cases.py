"""Cases of the fused op on JAX; where Keras runs on another backend the files are skipped."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "jax":
    pytest.skip("this is the fused op on JAX", allow_module_level=True)

import jax
import jax.numpy as jnp

from cb_keras import fused
from tests.cb_keras import reference
from tests.cb_keras.cases import LOSSES

ROWS, CLASSES = 12, 6
UPSTREAM = np.arange(ROWS, dtype="float32")  # not what the op expects, and a row of 0
WEIGHTS = np.array([0.5, 1.2, 0.0, 2.0, 1.0, 0.3], "float32")
GAMMA = 2.0
_rng = np.random.default_rng(0)
LOGITS = 3 * _rng.normal(size=(ROWS, CLASSES)).astype("float32")
LABELS = {
    "ids": _rng.integers(0, CLASSES, ROWS),
    "soft": _rng.uniform(size=(ROWS, CLASSES)).astype("float32"),
}
KINDS = list(LOSSES)


def by_op(kind, expected=0.25):
    """Sum of weighted losses, a function of logits, class weights and labels."""

    def total(logits, weights, labels):
        losses = fused.crossentropy(kind, labels, logits, weights, GAMMA, expected)
        return jnp.sum(UPSTREAM * losses)

    return total


def by_formula(kind):
    gamma = {"gamma": GAMMA} if "focal" in kind else {}

    def total(logits, weights, labels):
        return jnp.sum(UPSTREAM * LOSSES[kind](labels, logits, weights, **gamma))

    return total


def arguments(form, dtype="float32"):
    return jnp.asarray(LOGITS, dtype), jnp.asarray(WEIGHTS), jnp.asarray(LABELS[form])


def expected(kind, form):
    """Losses, and gradient of their sum weighted by `UPSTREAM`, in float64."""
    weights = WEIGHTS.astype("float64")
    if form == "ids":
        targets = reference.one_hot(LABELS["ids"], CLASSES)
        given = (kind, LOGITS, targets, weights[LABELS["ids"]])
        gamma = GAMMA if "focal" in kind else None
        losses, slopes = reference.loss(*given, gamma), reference.gradient(*given, gamma)
    else:
        given = (kind, LOGITS, LABELS["soft"].astype("float64"), weights)
        gamma = {"gamma": GAMMA} if "focal" in kind else {}
        losses = reference.mixed(reference.loss, *given, **gamma)
        slopes = reference.mixed(reference.gradient, *given, **gamma)
    return losses, UPSTREAM[:, None] * slopes


def assert_close(found, right, rtol=1e-4):
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(right), strict=True):
        ours, theirs = np.asarray(ours, "float64"), np.asarray(theirs, "float64")
        scale = np.abs(theirs).max(initial=1e-6)
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol / 10 * scale)


def targets_in(function, *arguments):
    """Names of the op's functions that a compiled function calls."""
    text = jax.jit(function).lower(*arguments).as_text()
    names = ("cb_keras_loss", "cb_keras_loss_and_gradient", "cb_keras_scale_rows")
    return {name for name in names if f"@{name}(" in text}
