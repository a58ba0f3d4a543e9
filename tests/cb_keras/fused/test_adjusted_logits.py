"""The fused op of logits that the class counts change: in one pass, with margins of class ids.

The float64 numbers are those of `log_softmax(factor * z + offset - margin [c = y])` by SciPy.
"""

import keras
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from cb_keras import fused, losses
from tests.cb_keras.gradients import BACKEND, compiled, value_and_gradient

pytestmark = pytest.mark.usefixtures("fused_op")

CLASSES = {
    "logit_adjusted": (losses.LogitAdjustedCrossentropy, {"tau": 1.3}),
    "ldam": (losses.LDAMCrossentropy, {"max_margin": 0.4, "scale": 7.0}),
    "vs": (losses.VectorScalingCrossentropy, {"gamma": 0.15, "tau": 1.1}),
}
kinds = pytest.mark.parametrize("kind", CLASSES)
ROWS = 21


def problem(number):
    """Counts and weights of `number` classes, logits `[21, number]` and class ids."""
    rng = np.random.default_rng(number)
    counts = rng.permutation(np.geomspace(5, 5000, number).astype(int))
    weights = rng.uniform(0.1, 3, number).astype("float32")
    return counts, weights, rng.normal(0, 2, (ROWS, number)), rng.integers(0, number, ROWS)


def make(kind, counts, **arguments):
    cls, settings = CLASSES[kind]
    return cls(counts, **settings, **{"reduction": "none", "fused": True, **arguments})


def expected(kind, counts, weights, logits, ids, smoothing=0.0):
    """Losses and the gradient of their sum; an id of -1 does not count."""
    number = logits.shape[1]
    own = (ids[:, None] == np.arange(number)).astype("float64")
    log_pi = np.log(counts / counts.sum())
    factor, offset, margin = {
        "logit_adjusted": (1.0, 1.3 * log_pi, 0.0),
        "ldam": (7.0, 0.0, 7.0 * 0.4 * (counts.min() / counts) ** 0.25),
        "vs": ((counts / counts.max()) ** 0.15, 1.1 * log_pi, 0.0),
    }[kind]
    adjusted = factor * logits + offset - own * margin
    weight = own @ weights.astype("float64")
    targets = (1 - smoothing) * own + smoothing / number
    slope = (softmax(adjusted, -1) - targets) * factor * weight[:, None]
    return -weight * np.sum(targets * log_softmax(adjusted, -1), -1), slope


@pytest.mark.parametrize("number", [7, 37], ids=["few classes", "many classes"])
@kinds
def test_losses_and_gradients_are_those_of_the_papers(kind, number):
    counts, weights, logits, ids = problem(number)
    ids[3] = -1
    smoothing = {} if kind == "ldam" else {"label_smoothing": 0.1}
    loss = make(kind, counts, class_weights=weights, ignore_class=-1, **smoothing)
    right = expected(kind, counts, weights, logits, ids, 0.1 if smoothing else 0.0)
    compiles = BACKEND != "tensorflow" or fused.compiles()
    for way in (lambda f: f, *([compiled] if number > 16 and compiles else [])):
        found = value_and_gradient(way(lambda z: loss.call(ids, z)), logits)
        for array, wanted in zip(found, right, strict=True):
            np.testing.assert_allclose(array, wanted, rtol=3e-5, atol=3e-6)
        assert (found[1][3] == 0).all()


@kinds
def test_the_gradient_of_bfloat16_logits_is_rounded_once(kind):
    counts, weights, logits, ids = problem(37)
    logits = np.round(logits * 16) / 16  # what bfloat16 can hold
    loss = make(kind, counts, class_weights=weights)
    _, gradient = value_and_gradient(
        lambda z: keras.ops.cast(loss.call(ids, z), "float32"), logits, "bfloat16"
    )
    _, right = expected(kind, counts, weights, logits, ids)
    gradient = np.asarray(gradient, "float64")
    np.testing.assert_allclose(gradient, right, rtol=2**-8 + 3e-5, atol=3e-6)


@pytest.mark.parametrize(("kind", "form"), [("vs", "ids"), ("vs", "soft"), ("ldam", "soft")])
def test_the_mean_and_its_gradient_are_those_without_the_op(kind, form):
    counts, weights, logits, labels = problem(37)
    if form == "soft":
        labels = np.random.default_rng(1).dirichlet(np.ones(37), ROWS)
    found = [
        value_and_gradient(
            lambda z, way=way: make(
                kind, counts, class_weights=weights, fused=way, reduction="sum_over_batch_size"
            )(labels, z),
            logits,
        )
        for way in ("auto", False)
    ]
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=3e-5, atol=1e-6)


def test_margins_of_dense_labels_are_left_to_keras_ops_and_refused_where_the_op_is_asked_for():
    counts, _, logits, ids = problem(7)
    with pytest.raises(fused.FusedOpError, match="it does not have this loss of dense labels"):
        make("ldam", counts).call(np.eye(7, dtype="float32")[ids], logits.astype("float32"))


def test_what_changes_nothing_is_not_handed_to_the_op():
    counts = [9, 1]
    adjusts = {
        losses.LogitAdjustedCrossentropy(counts, tau=0): 0,
        losses.LogitAdjustedCrossentropy(counts): 2,
        losses.VectorScalingCrossentropy(counts, tau=0): 1,
        losses.VectorScalingCrossentropy(counts, gamma=0): 2,
        losses.LDAMCrossentropy(counts): 5,
        losses.LDAMCrossentropy(counts, scale=1.0): 4,
    }
    assert {loss: loss._fused_form().adjusts for loss in adjusts} == adjusts


def test_second_derivatives_are_those_of_the_formula():
    counts, weights, logits, ids = problem(7)
    direction = np.random.default_rng(2).normal(size=logits.shape).astype("float32")
    found = []
    for way in (True, False):
        loss = make("ldam", counts, class_weights=weights, fused=way, reduction="sum")
        found.append(_of_gradient(lambda z, loss=loss: loss.call(ids, z), logits, direction))
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-5)


def _of_gradient(function, z, direction):
    """Gradient of `direction . gradient` of the sum of a function."""
    z = keras.ops.convert_to_tensor(z, "float32")
    if BACKEND == "jax":
        import jax

        slope = jax.grad(lambda z: function(z).sum())
        return jax.jit(jax.grad(lambda z: (direction * slope(z)).sum()))(z)
    if BACKEND == "torch":
        import torch

        z.requires_grad_(True)
        (slope,) = torch.autograd.grad(function(z).sum(), z, create_graph=True)
        return torch.autograd.grad((slope * torch.as_tensor(direction)).sum(), z)[0]
    import tensorflow as tf

    with tf.GradientTape() as outer:
        outer.watch(z)
        with tf.GradientTape() as inner:
            inner.watch(z)
            total = tf.reduce_sum(function(z))
        slope = tf.reduce_sum(direction * inner.gradient(total, z))
    return outer.gradient(slope, z)


@pytest.mark.parametrize("kind", ["ldam", "vs"])
def test_gradients_by_class_weights_are_those_of_the_formula(kind):
    counts, weights, logits, ids = problem(7)
    form = make(kind, counts, class_weights=weights)._fused_form()
    rows = make(kind, counts)._rows
    z = keras.ops.convert_to_tensor(logits, "float32")

    def losses_of(weights):
        arrays = keras.ops.concatenate([weights[None], keras.ops.convert_to_tensor(rows)])
        given = fused.Form("softmax", 0.0, None, form.adjusts)
        labels = keras.ops.convert_to_tensor(ids, "int32")
        return fused.prepared(given, labels, z, arrays, 0.0, 1.0, True)

    _, gradient = value_and_gradient(losses_of, weights)
    unweighted, _ = expected(kind, counts, np.ones(7), logits, ids)
    right = np.bincount(ids, unweighted, minlength=7)
    np.testing.assert_allclose(gradient, right, rtol=3e-5, atol=1e-5)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="of jax.vmap and torch.func.vmap")
def test_a_batch_of_problems_is_mapped():
    counts, weights, logits, ids = problem(7)
    loss = make("ldam", counts, class_weights=weights)
    z, labels = logits.reshape(3, 7, 7).astype("float32"), ids.reshape(3, 7)
    if BACKEND == "jax":
        import jax

        found = jax.vmap(jax.grad(lambda z, y: loss.call(y, z).sum()))(z, labels)
    else:
        import torch

        slope = torch.func.grad(lambda z, y: loss.call(y, z).sum())
        found = torch.func.vmap(slope)(torch.as_tensor(z), torch.as_tensor(labels))
    _, right = expected("ldam", counts, weights, logits, ids)
    np.testing.assert_allclose(np.asarray(found).reshape(ROWS, 7), right, rtol=3e-5, atol=3e-6)


@pytest.mark.skipif(BACKEND != "torch", reason="of torch.compile")
def test_a_compiled_loss_has_the_op_in_its_graph():
    import torch

    number, rows = 1024, 32  # enough to be worth a call
    rng = np.random.default_rng(0)
    counts = np.geomspace(5, 5000, number).astype(int)
    ids, z = rng.integers(0, number, rows), rng.normal(size=(rows, number))
    loss, calls = make("ldam", counts), []

    def backend(graph, _):
        calls.extend(str(n.target) for n in graph.graph.nodes if "cb_keras" in str(n.target))
        return graph.forward

    torch._dynamo.reset()
    function = torch.compile(lambda z: loss.call(torch.as_tensor(ids), z), backend=backend)
    found = value_and_gradient(function, z)
    right = expected("ldam", counts, np.ones(number), z, ids)
    for array, wanted in zip(found, right, strict=True):
        np.testing.assert_allclose(array, wanted, rtol=3e-5, atol=3e-6)
    assert calls == ["cb_keras.losses"]


@pytest.mark.skipif(BACKEND != "tensorflow", reason="of TensorFlow's op")
@pytest.mark.parametrize(
    ("loss", "labels", "weights", "adjusts", "message"),
    [
        ("softmax", np.zeros(2, "int32"), np.ones(3), 2, r"must have shape \[2,3\], got \[3\]"),
        ("softmax", np.zeros(2, "int32"), np.ones((2, 3)), 0, r"shape \[3\], got \[2,3\]"),
        ("softmax", np.zeros((2, 3)), np.ones((2, 3)), 4, "only class ids have margins"),
        ("focal", np.zeros(2, "int32"), np.ones((2, 3)), 1, "only softmax losses adjust"),
        ("softmax", np.zeros(2, "int32"), np.ones((2, 3)), 8, "there are three adjustments"),
    ],
)
def test_the_raw_op_refuses_adjustments_that_do_not_fit(loss, labels, weights, adjusts, message):
    import tensorflow as tf

    from cb_keras.fused import library

    labels = labels if labels.dtype == "int32" else labels.astype("float32")
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        library.find()[0].cb_keras_loss(
            np.zeros((2, 3), "float32"),
            labels,
            weights.astype("float32"),
            1.0,
            loss=loss,
            adjusts=adjusts,
        )
