"""The fused op's backward pass: upstream gradients, tapes, the ops that a graph holds."""

import itertools

import keras
import numpy as np
import pytest

from cb_keras import fused
from cb_keras.fused import gradients
from tests.cb_keras.cases import CLASSES as LOSS_CLASSES
from tests.cb_keras.cases import LOSSES, kinds
from tests.cb_keras.fused.cases import (
    ROUNDING,
    expected,
    logits_of,
    problem,
    raw_ops,
    tf,
    types,
)

pytestmark = pytest.mark.usefixtures("fused_op")

ROWS, CLASSES = 15, 33
PRUNED = {"CbKerasLoss"}  # of the derivative by class weights, which a graph drops again
SAMPLE_WEIGHT = np.random.default_rng(1).uniform(0, 2, ROWS).astype("float32")
SAMPLE_WEIGHT[3] = 0
# What becomes of the losses, and so the gradient that arrives at each of them.
REDUCTIONS = {
    "sum": (tf.reduce_sum, np.ones(ROWS)),
    "mean": (tf.reduce_mean, np.full(ROWS, 1 / ROWS)),
    "scaled": (lambda v: 1024.0 * tf.reduce_mean(v), np.full(ROWS, 1024 / ROWS)),
    "negative": (lambda v: -3.0 * tf.reduce_sum(v), np.full(ROWS, -3.0)),
    "sample weights": (lambda v: tf.reduce_mean(v * SAMPLE_WEIGHT), SAMPLE_WEIGHT / ROWS),
    "first row": (lambda v: v[0], np.eye(ROWS)[0]),
}
EXPECTS = ["what comes", "1, the default", "something else"]
modes = pytest.mark.parametrize("run", [lambda f: f, tf.function], ids=["eager", "graph"])
forms = pytest.mark.parametrize(
    ("kind", "form"),
    [
        *(("softmax", "int32"), ("sigmoid", "int64"), ("sigmoid", "multi-hot")),
        *(("focal", "int32"), ("focal", "multi-hot")),
    ],
)


class Unchanged(keras.losses.Loss):
    """Keras' reductions of losses that are given."""

    def call(self, y_true, y_pred):
        return y_pred


def check_gradient(kind, dtype, reduction, expects, run, rng):
    """The gradient of `crossentropy` against float64, by what upstream gradient it was told of."""
    labels, logits, weights, targets, weight = problem(kind, "int32", ROWS, CLASSES, rng, dtype)
    reduce, upstream = REDUCTIONS[reduction]
    expected_upstream = {"what comes": upstream[0], "something else": 0.37}.get(expects)
    kwargs = {} if expected_upstream is None else {"expected_upstream": expected_upstream}

    def slope(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = reduce(fused.crossentropy(kind, labels, z, weights, 1.0, **kwargs))
        return tape.gradient(value, z)

    gradient = run(slope)(tf.constant(logits, dtype)).numpy().astype("float64")
    _, right = expected(kind, logits, targets, upstream * weight)
    relative, absolute = ROUNDING.get(dtype, (0, 1e-35))
    # Rounded once where what was expected came, and once more where it is scaled.
    times = 1 if expects == "what comes" and reduction != "sample weights" else 2
    bound = {"rtol": times * relative + 1e-5, "atol": times * absolute + 1e-35}
    np.testing.assert_allclose(gradient, right, err_msg=reduction, **bound)


@pytest.mark.parametrize("expects", EXPECTS)
@pytest.mark.parametrize("dtype", ["float32", *ROUNDING])
@kinds
def test_the_gradient_is_right_whatever_upstream_was_expected(kind, dtype, expects, rng):
    for reduction in REDUCTIONS:
        check_gradient(kind, dtype, reduction, expects, lambda f: f, rng)


# Every pair of loss, dtype, reduction and expectation.
GRAPHS = list(itertools.product(["float32", *ROUNDING], REDUCTIONS, EXPECTS))


@pytest.mark.parametrize(
    ("kind", "dtype", "reduction", "expects"),
    [
        (list(LOSSES)[(i // 3 + 2 * (i // 18)) % 3], *case)
        for i, case in enumerate(GRAPHS)
        if i % 3 == (i // 3 + i // 18) % 3
    ],
)
def test_in_a_graph_too(kind, dtype, reduction, expects, rng):
    check_gradient(kind, dtype, reduction, expects, tf.function, rng)


@forms
def test_a_persistent_tape_gives_every_upstream_its_own_gradient(kind, form, rng):
    labels, logits, weights, targets, weight = problem(kind, form, ROWS, CLASSES, rng)
    z = tf.constant(logits, "float32")
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(z)
        value = fused.crossentropy(kind, labels, z, weights, 1.0)
    for upstream in (SAMPLE_WEIGHT, 3 * np.ones(ROWS), np.ones(ROWS), SAMPLE_WEIGHT):
        gradient = tape.gradient(value, z, output_gradients=tf.constant(upstream, "float32"))
        _, right = expected(kind, logits, targets, upstream * weight)
        np.testing.assert_allclose(gradient, right, rtol=1e-5, atol=1e-35)


@forms
def test_two_gradients_of_one_loss_in_a_graph_do_not_spoil_each_other(kind, form, rng):
    labels, logits, weights, targets, weight = problem(kind, form, ROWS, CLASSES, rng)

    @tf.function
    def gradients(z, *upstreams):
        value = fused.crossentropy(kind, labels, z, weights, 1.0)
        return [tf.gradients(value, z, upstream)[0] for upstream in upstreams]

    upstreams = [3 * np.ones(ROWS), SAMPLE_WEIGHT, np.ones(ROWS)]
    results = gradients(
        tf.constant(logits, "float32"), *(tf.constant(u, "float32") for u in upstreams)
    )
    for gradient, upstream in zip(results, upstreams, strict=True):
        _, right = expected(kind, logits, targets, upstream * weight)
        np.testing.assert_allclose(gradient, right, rtol=1e-5, atol=1e-35)


@forms
@pytest.mark.parametrize("dtype", ["float32", *ROUNDING])
def test_without_a_tape_no_op_computes_the_gradient(kind, form, dtype, rng):
    labels, _, weights, _, _ = problem(kind, form, ROWS, CLASSES, rng)
    spec = tf.TensorSpec((ROWS, CLASSES), dtype)
    assert types(lambda z: fused.crossentropy(kind, labels, z, weights), spec) == {"CbKerasLoss"}


@kinds
def test_with_a_tape_one_op_computes_loss_and_gradient(kind, rng):
    labels, _, weights, _, _ = problem(kind, "int32", ROWS, CLASSES, rng)

    def slope(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = fused.crossentropy(kind, labels, z, weights)
        return tape.gradient(value, z)

    both = {"CbKerasLossAndGradient", "CbKerasScaleRows"}
    assert types(slope, tf.TensorSpec((ROWS, CLASSES), "float32")) - PRUNED == both
    # float16 waits for the upstream gradient, which holds the loss scale.
    waits = {"CbKerasLoss", "CbKerasLossAndGradient"}
    assert types(slope, tf.TensorSpec((ROWS, CLASSES), "float16")) == waits


def test_derivatives_that_nobody_asks_for_are_not_computed(rng):
    labels, logits, weights, _, _ = problem("focal", "multi-hot", ROWS, CLASSES, rng)

    def slope(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = fused.crossentropy("focal", labels, z, weights, 1.0)
        return tape.gradient(value, z)

    options = tf.compat.v1.RunOptions(output_partition_graphs=True)
    metadata = tf.compat.v1.RunMetadata()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        z = tf.compat.v1.placeholder("float32", (ROWS, CLASSES))
        session.run(slope(z), {z: logits}, options, metadata)
    executed = {node.op for graph in metadata.partition_graphs for node in graph.node}
    assert "CbKerasLossAndGradient" in executed
    assert not executed & {"CbKerasLoss", "Softplus", "Exp"}


@kinds
def test_a_loss_scale_keeps_float16_gradients_that_would_be_zero_without_it(kind):
    logits = np.array([[12.0, -12.0, -12.0]])  # 1 - p is 1e-5, or 4e-11 for two softmax classes
    z = tf.constant(logits, "float16")
    scale = 2.0**20
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = scale * fused.crossentropy(kind, [0], z, np.ones(3), 0.0, expected_upstream=1.0)
    _, right = expected(kind, logits, np.array([[1, 0, 0]]), scale, gamma=0.0)
    gradient = tape.gradient(value, z).numpy().astype("float64")
    assert (gradient != 0).all()
    np.testing.assert_allclose(gradient, right, rtol=2**-11 + 1e-5, atol=2**-25)


@forms
@modes
def test_the_registered_gradient_serves_a_function_that_was_traced_without_a_tape(
    kind, form, run, rng
):
    labels, logits, weights, targets, weight = problem(kind, form, ROWS, CLASSES, rng)
    multi_hot = form == "multi-hot"
    labels, z = (
        tf.constant(labels, "float32" if multi_hot else form),
        tf.constant(logits, "float32"),
    )
    function = run(lambda z: raw_ops().cb_keras_loss(z, labels, weights, 1.0, loss=kind))
    loss, right = expected(kind, logits, targets, SAMPLE_WEIGHT * weight)
    np.testing.assert_allclose(SAMPLE_WEIGHT * function(z), loss, rtol=1e-5, atol=1e-35)
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = function(z) * SAMPLE_WEIGHT
    np.testing.assert_allclose(tape.gradient(value, z), right, rtol=1e-5, atol=1e-35)


@pytest.mark.parametrize("dtype", ["float32", *ROUNDING])
def test_scale_rows_multiplies_each_row_by_upstream_over_applied(dtype, rng):
    values = logits_of(5, 33, rng, dtype)
    upstream = np.array([2.0, 1.5, 0.0, -1.0, 0.0])
    for applied in (np.array([0.5, 1.5, 3.0, 4.0, 0.0]), 0.5):
        scaled = raw_ops().cb_keras_scale_rows(
            tf.constant(values, dtype),
            tf.constant(upstream, "float32"),
            tf.constant(applied, "float32"),
        )
        factor = np.where(upstream == applied, 1, upstream / np.where(applied == 0, 1, applied))
        relative, absolute = ROUNDING.get(dtype, (2**-23, 0))
        bound = {"rtol": relative, "atol": absolute}
        np.testing.assert_allclose(
            scaled.numpy().astype("float64"), factor[:, None] * values, **bound
        )


@pytest.mark.parametrize("dtype", ROUNDING)
def test_a_scaled_number_is_rounded_to_the_nearest_and_ties_to_even(dtype):
    numpy_dtype = tf.as_dtype(dtype).as_numpy_dtype
    with np.errstate(invalid="ignore", over="ignore"):
        values = np.arange(2**16, dtype="uint16").view(numpy_dtype).astype("float32")
        size = np.abs(values)
        values = values[(size == 0) | (size > 1e-36) & (size < np.inf)][None]  # but what is flushed
        expected = (np.float32(1.5) * values).astype(numpy_dtype)  # the product is exact
    scaled = raw_ops().cb_keras_scale_rows(tf.cast(values, dtype), [1.5], 1.0)
    np.testing.assert_array_equal(scaled.numpy().astype("float32"), expected.astype("float32"))


def test_scale_rows_cannot_scale_what_was_multiplied_by_zero():
    values, upstream = tf.ones((2, 3)), tf.constant([1.0, 0.0])
    scaled = raw_ops().cb_keras_scale_rows(values, upstream, 0.0)
    np.testing.assert_array_equal(scaled, [[np.nan] * 3, [1.0] * 3])


@pytest.mark.parametrize("dtype", ["float32", *ROUNDING])
@pytest.mark.parametrize("classes", [3, 33])
@kinds
def test_where_nothing_arrives_the_gradient_is_zero_whatever_the_logits(kind, classes, dtype):
    """As of an example with a sample weight of 0."""
    z = tf.constant(np.where(np.eye(3, classes) == 1, [[np.nan], [np.inf], [1.0]], 0.5), dtype)
    upstream = tf.constant([0.0, 0.0, 1.0])
    for expected_upstream in (1.0, upstream):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = fused.crossentropy(
                kind, [0, 0, 2], z, np.ones(classes), 1.0, expected_upstream=expected_upstream
            )
        gradient = tape.gradient(value, z, output_gradients=upstream).numpy()
        assert (gradient[:2] == 0).all()
        assert (gradient[2] != 0).all()


@pytest.mark.parametrize("kind", LOSSES)
def test_the_gradient_of_no_rows_is_empty(kind):
    z = tf.zeros((0, 3))
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = tf.reduce_sum(fused.crossentropy(kind, np.zeros(0, "int32"), z, np.ones(3)))
    assert float(value) == 0
    assert tape.gradient(value, z).shape == (0, 3)


@pytest.mark.parametrize("shape", [(1,), (3, 5), (7, 1, 3)])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean", "mean_with_sample_weight"])
def test_mean_upstream_is_to_the_last_bit_what_keras_sends_back(reduction, shape):
    for n in (1, 2, 3, 7, 49, 100, 127, 1000):
        values = tf.ones((n, *shape))
        with tf.GradientTape() as tape:
            tape.watch(values)
            reduced = Unchanged(reduction=reduction)(values, values)
        upstream = tf.reshape(tape.gradient(reduced, values), [-1])
        rows = tf.random.stateless_normal((len(upstream), 3), (n, 0))
        np.testing.assert_array_equal(upstream, gradients.mean(rows, 1))
        for replicas, dtype in ((1, "float32"), (3, "float32"), (1, "bfloat16")):
            given = tf.cast(rows, dtype)
            scaled = raw_ops().cb_keras_scale_rows(
                given, upstream / replicas, 0.0, mean_replicas=replicas
            )
            np.testing.assert_array_equal(tf.cast(scaled, "float32"), tf.cast(given, "float32"))


@pytest.mark.parametrize(
    ("kind", "reduction"),
    [
        ("softmax", "sum_over_batch_size"),
        ("sigmoid", "mean"),
        ("focal", "mean_with_sample_weight"),
    ],
)
def test_the_gradient_of_a_mean_is_the_kernels_to_the_last_bit(kind, reduction, rng):
    """Scaled afterwards it would be rounded twice, and cost another pass."""
    labels, logits, weights, _, _ = problem(kind, "int32", ROWS, CLASSES, rng)
    z, upstream = tf.constant(logits, "float32"), tf.constant(np.float32(1) / np.float32(ROWS))
    gamma = 1.0 if kind == "focal" else 0.0
    _, right = raw_ops().cb_keras_loss_and_gradient(z, labels, weights, gamma, upstream, loss=kind)
    loss = LOSS_CLASSES[kind](class_weights=weights, reduction=reduction, fused=True)
    for run in (lambda f: f, tf.function):

        @run
        def slope(z):
            with tf.GradientTape() as tape:
                tape.watch(z)
                value = loss(labels, z)
            return tape.gradient(value, z)

        np.testing.assert_array_equal(slope(z), right)
