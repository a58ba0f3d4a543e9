"""Cases that the tests of the fused op share; without TensorFlow they are skipped.

The float64 numbers are `reference.py`'s, which follows Cui et al. 2019, equations 7, 9 and 11.
"""

import hashlib
import re

import numpy as np
import pytest
from scipy.special import softmax

from cb_keras import fused
from cb_keras.fused import library
from tests.cb_keras import reference
from tests.cb_keras.cases import CLASSES, COUNTS, IDS, LOGITS, LOSSES, expected_losses, number
from tests.cb_keras.gradients import value_and_gradient
from tests.fused_library import require_tensorflow

tf = require_tensorflow()

Z = LOGITS.astype("float32")
SMALLEST = 1e-37  # float32 numbers below it may be flushed to zero
# Half a unit in the last place of a normal number, and half the smallest number.
ROUNDING = {"bfloat16": (2**-8, SMALLEST), "float16": (2**-11, 1.01 * 2**-25)}


def logits_of(rows, classes, rng, dtype="float32"):
    """Rows of ordinary logits and of logits up to 100 in turn; float64 that `dtype` can hold."""
    z = rng.normal(0, 3, (rows, classes))
    z[1::2] = rng.uniform(-100, 100, z[1::2].shape)
    return tf.cast(z, dtype).numpy().astype("float64")


def multi_hot(rows, classes, rng):
    labels = rng.integers(0, 2, (rows, classes)).astype("float64")
    labels[::5] = 0
    return labels


def weight_of(targets, weights):
    """`reference.py` leaves it to us: the mean weight of the positive classes, or of all."""
    total = targets.sum(-1)
    average = targets @ weights / np.where(total > 0, total, 1)
    return np.where(total > 0, average, weights.mean())


def expected(kind, logits, targets, weight, gamma=1.0):
    """Loss and gradient in float64, also where `reference.py` subtracts p_y from 1."""
    if kind == "softmax_focal":
        return exact_softmax_focal(logits, targets * np.asarray(weight)[..., None], gamma)
    if kind != "softmax":
        gamma = gamma if kind == "focal" else 0.0  # the sigmoid loss
        return (
            reference.loss("focal", logits, targets, weight, gamma),
            reference.gradient("focal", logits, targets, weight, gamma),
        )
    p = softmax(logits, axis=-1)
    wrong = np.sum((1 - targets) * p, axis=-1)  # 1 - p_y
    far = reference.loss("softmax", logits, targets)
    loss = np.where(wrong < 0.5, -np.log1p(-np.minimum(wrong, 0.5)), far)
    slope = (1 - targets) * p - targets * wrong[:, None]
    return weight * loss, np.asarray(weight)[..., None] * slope


def exact_softmax_focal(logits, targets, gamma, smoothing=0.0):
    """Loss and gradient of targets (labels times weights); gamma 0 is the softmax loss.

    The one class with p > 1/2 has its 1 - p from the others' exponentials.
    """
    z, rows = np.asarray(logits, "float64"), np.arange(len(logits))
    spread = targets.sum(-1, keepdims=True) / z.shape[-1]
    targets = (1 - smoothing) * targets + smoothing * spread
    top = z.argmax(-1)
    e = np.exp(z - z[rows, top][:, None])
    e[rows, top] = 0
    rest = e.sum(-1)
    ce = z[rows, top][:, None] - z + np.log1p(rest)[:, None]
    p = np.exp(-ce)
    q = 1 - p
    q[rows, top] = rest / (1 + rest)
    power = q**gamma if gamma else np.ones_like(q)
    slopes = targets * power * (1 + gamma * p * ce / np.maximum(q, 1e-300))
    gradient = slopes.sum(-1, keepdims=True) * p - slopes
    others = slopes.copy()
    others[rows, top] = 0
    gradient[rows, top] = others.sum(-1) - slopes.sum(-1) * q[rows, top]
    return np.sum(targets * power * ce, -1), gradient


def ours(kind, labels, logits, weights, gamma=1.0, dtype="float32"):
    return value_and_gradient(
        lambda z: fused.crossentropy(kind, labels, z, weights, gamma), logits, dtype
    )


def problem(kind, form, rows, classes, rng, dtype="float32"):
    """Labels for the op, logits, class weights, and what `expected` needs of the labels."""
    logits = logits_of(rows, classes, rng, dtype)
    weights = rng.uniform(0.1, 3, classes).astype("float32")
    if form == "multi-hot":
        targets = multi_hot(rows, classes, rng)
        return targets, logits, weights, targets, weight_of(targets, weights.astype("float64"))
    ids = rng.integers(0, classes, rows)
    targets = np.zeros((rows, classes))
    targets[np.arange(rows), ids] = 1
    return ids.astype(form), logits, weights, targets, weights[ids].astype("float64")


def forms(kind, classes):
    """Of the labels; the softmax losses' dense ones are in test_softmax_forms.py."""
    return [
        form
        for form in ("int32", "int64", "multi-hot")
        if ("softmax" not in kind if form == "multi-hot" else classes > 1)
    ]


def raw_ops():
    return library.find()[0]


def types(function, *signature):
    """Types of the ops of our library in the graph of a function, in the functions it calls too."""
    graph = tf.function(function).get_concrete_function(*signature).graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    return {node.op for node in nodes if node.op.startswith("CbKeras")}


def write_sealed(path, content):
    """Writes a library that is changed but, by its digest, whole."""
    path.write_bytes(content[: content.rindex(b"\n", 0, -1)])  # without its seal
    library.builder().seal(path)


def assert_not_used(why):
    """The status says why (a pattern); losses do without, or say why."""
    assert not fused.available()
    assert re.fullmatch(f"fused op: not in use: {why}", fused.status())
    np.testing.assert_allclose(
        number(CLASSES["focal"](COUNTS)(IDS, Z)), expected_losses("focal").mean(), rtol=1e-6
    )
    with pytest.raises(fused.FusedOpError, match=f"`fused=True`, but .* here: {why}"):
        CLASSES["focal"](COUNTS, fused=True)(IDS, Z)
    with pytest.raises(fused.FusedOpError, match=f"the fused op can't be used: {why}"):
        fused.crossentropy("focal", IDS, Z, np.ones(3), 1.0)


def digest():
    """Digest of losses and gradients that are large enough for several threads."""
    digest, rng = hashlib.sha256(), np.random.default_rng(0)
    for kind in LOSSES:
        for form in forms(kind, 500):
            labels, logits, weights, _, _ = problem(kind, form, 1001, 500, rng)
            for array in ours(kind, labels, logits, weights, 0.5):
                digest.update(array.tobytes())
    return digest.hexdigest()
