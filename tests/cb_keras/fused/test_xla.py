"""The fused op where XLA compiles what is around it: the same numbers, to the last bit."""

import json

import keras
import numpy as np
import pytest

import cb_keras
from cb_keras import fused
from cb_keras.fused import library
from tests.cb_keras.cases import CLASSES, COUNTS, INPUTS, LOSSES, WEIGHTS, fit, linear_model
from tests.cb_keras.fused.cases import logits_of, multi_hot, raw_ops, tf
from tests.fused_library import run_python


@pytest.fixture(autouse=True)
def xla_can_call_it(fused_op):
    """Skips with a TensorFlow whose package lacks the headers of XLA, as 2.19 and 2.20."""
    if not library.compiles():
        pytest.skip(fused.status().splitlines()[0])


CALLS = ["cb_keras_loss", "cb_keras_loss_and_gradient", "cb_keras_scale_rows"]
CLUSTERED = """
import json
from tests.cb_keras.fused.test_xla import value_and_gradient_in_other_ops

print(json.dumps(value_and_gradient_in_other_ops()))
"""


def compiled_and_not(function, *inputs):
    """What a function gives under XLA and in its graph; names of the calls that XLA makes."""
    compiled = tf.function(function, jit_compile=True)
    hlo = compiled.experimental_get_compiler_ir(*inputs)(stage="hlo")
    calls = {name for name in CALLS if f'"{name}"' in hlo}
    return compiled(*inputs), tf.function(function)(*inputs), calls


def assert_same(compiled, graph):
    for ours, theirs in zip(tf.nest.flatten(compiled), tf.nest.flatten(graph), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(tf.cast(ours, "float64"), tf.cast(theirs, "float64"))


def problem(rows=37, classes=3, dtype="float32"):
    """Logits, class ids, multi-hot labels."""
    rng = np.random.default_rng(0)
    logits = tf.cast(logits_of(rows, classes, rng), dtype)
    labels = tf.constant(multi_hot(rows, classes, rng), tf.float32)
    return logits, tf.constant(rng.integers(0, classes, rows)), labels


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_losses_and_gradients_by_logits_are_those_of_the_graph_to_the_last_bit(dtype):
    logits, ids, labels = problem(dtype=dtype)

    def everything(logits, ids, labels):
        found = []
        for kind in LOSSES:
            for y_true in (ids, labels):
                with tf.GradientTape() as tape:
                    tape.watch(logits)
                    losses = fused.crossentropy(kind, y_true, logits, WEIGHTS, 1.5)
                    value = tf.reduce_sum(losses * tf.range(37.0))
                found.append((losses, tape.gradient(value, logits)))
        return found

    compiled, graph, calls = compiled_and_not(everything, logits, ids, labels)
    assert_same(compiled, graph)
    assert "cb_keras_loss_and_gradient" in calls
    assert ("cb_keras_scale_rows" in calls) == (dtype == "float32")  # others are computed again


@pytest.mark.parametrize("kind", ["softmax", "focal"])
def test_gradients_by_soft_labels_and_class_weights_are_those_of_the_graph(kind):
    logits, _, labels = problem()

    def gradients(logits, labels, weights):
        with tf.GradientTape() as tape:
            tape.watch([labels, weights])
            value = tf.reduce_mean(fused.crossentropy(kind, labels, logits, weights, 1.5))
        return tape.gradient(value, [labels, weights])

    weights = tf.constant(WEIGHTS, tf.float32)
    compiled, graph, _ = compiled_and_not(gradients, logits, labels, weights)
    for ours, theirs in zip(compiled, graph, strict=True):
        assert np.abs(theirs).max() > 0.1
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
def test_a_loss_under_xla_is_that_of_the_graph(reduction):
    logits, ids, _ = problem()
    loss = CLASSES["focal"](COUNTS, reduction=reduction, fused=True)

    def value_and_gradient(ids, logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(ids, logits)
        return value, tape.gradient(value, logits)

    compiled, graph, calls = compiled_and_not(value_and_gradient, ids, logits)
    assert_same(compiled[1], graph[1])
    np.testing.assert_allclose(compiled[0], graph[0], rtol=1e-6)  # XLA adds up in another order
    assert {"cb_keras_loss_and_gradient", "cb_keras_scale_rows"} <= calls


def test_second_derivatives_under_xla_are_those_of_the_formulas():
    logits, ids, _ = problem(rows=5)

    def hessian_times_ones(fused):
        loss = CLASSES["softmax_focal"](COUNTS, fused=fused)

        def product(logits):
            with tf.GradientTape() as outer:
                outer.watch(logits)
                with tf.GradientTape() as inner:
                    inner.watch(logits)
                    value = loss(ids, logits)
                slope = inner.gradient(value, logits)
                total = tf.reduce_sum(slope * tf.range(3.0))
            return outer.gradient(total, logits)

        return product

    ours = tf.function(hessian_times_ones(fused=True), jit_compile=True)(logits)
    theirs = tf.function(hessian_times_ones(fused=False))(logits)
    assert np.abs(theirs).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_class_ids_that_are_no_classes_make_nan_of_their_rows_under_xla():
    logits, _, _ = problem(rows=4)
    loss = CLASSES["sigmoid"](COUNTS, reduction=None, fused=True)

    @tf.function(jit_compile=True)
    def losses_and_gradient(ids):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            losses = loss(ids, logits)
        return losses, tape.gradient(losses, logits)

    losses, gradient = losses_and_gradient(tf.constant([0, 3, 2, -1]))
    np.testing.assert_array_equal(np.isnan(losses), [False, True, False, True])
    np.testing.assert_array_equal(np.isnan(gradient).all(-1), [False, True, False, True])
    np.testing.assert_array_equal(np.isnan(gradient).any(-1), [False, True, False, True])


@pytest.mark.parametrize("kept", [3, 0])
def test_rows_whose_number_is_known_at_run_time_only_are_right_under_xla(kept):
    logits, ids, _ = problem(rows=6)
    loss = CLASSES["focal"](COUNTS, fused=True)

    def value_and_gradient(logits, ids, mask):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(tf.boolean_mask(ids, mask), tf.boolean_mask(logits, mask))
        return value, tape.gradient(value, logits)

    mask = tf.constant([i % 2 == 0 for i in range(6)] if kept else [False] * 6)
    compiled = tf.function(value_and_gradient, jit_compile=True)(logits, ids, mask)
    graph = tf.function(value_and_gradient)(logits, ids, mask)
    for ours, theirs in zip(compiled, graph, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_a_gamma_that_xla_does_not_know_is_refused_in_words():
    logits, ids, _ = problem()

    @tf.function(jit_compile=True)
    def losses(gamma):
        return raw_ops().cb_keras_loss(logits, ids, WEIGHTS.astype("f"), gamma, loss="focal")

    expected = raw_ops().cb_keras_loss(logits, ids, WEIGHTS.astype("f"), 0.5, loss="focal")
    np.testing.assert_array_equal(losses(tf.constant(0.5)), expected)  # compiled for this number

    with pytest.raises(tf.errors.InvalidArgumentError, match="gamma must be known when XLA comp"):
        tf.function(lambda: losses(tf.random.uniform(())), jit_compile=True)()


def trained(mode):
    model = linear_model(CLASSES["softmax"](COUNTS, fused=True), mode)
    return model, fit(model, epochs=3)


def test_fit_with_jit_compile_is_fit_without(tmp_path):
    (ours, losses), (theirs, expected) = trained("compiled"), trained("graph")
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
    for weight, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-5, atol=1e-7)
    ours.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(INPUTS, verbose=0), ours.predict(INPUTS, verbose=0))


def test_without_handlers_xla_is_refused_by_name_and_auto_takes_keras_ops(monkeypatch):
    monkeypatch.setattr(raw_ops(), "for_xla", 0)
    logits, ids, _ = problem()
    insisting = CLASSES["focal"](COUNTS, fused=True)
    with pytest.raises(fused.FusedOpError, match=r"XLA compiles this function and can't call it"):
        tf.function(insisting, jit_compile=True)(ids, logits)
    auto = CLASSES["focal"](COUNTS)
    compiled, graph, calls = compiled_and_not(lambda ids, z: auto(ids, z), ids, logits)
    assert not calls
    np.testing.assert_allclose(compiled, graph, rtol=1e-6)


def test_on_a_gpu_it_takes_the_handlers_of_the_gpu(monkeypatch):
    assert library.compiles()
    monkeypatch.setattr(raw_ops(), "for_xla", 1)  # of a library that was built without nvcc
    monkeypatch.setattr(library, "on_gpu", lambda: True)
    assert not library.compiles()
    monkeypatch.setattr(raw_ops(), "for_xla", 3)
    assert library.compiles()


def value_and_gradient_in_other_ops():
    """A number that is computed by the op, and by other ops before and after it."""
    loss = cb_keras.losses.ClassBalancedFocalCrossentropy([5, 3, 2], fused=True)

    @tf.function
    def number(inputs):
        inputs = tf.sin(tf.tanh(inputs * 1.5) + inputs * 0.5)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            value = loss(tf.constant([0, 1, 2]), tf.tanh(inputs * 2) + 1)
        gradient = tape.gradient(value, inputs)
        return value * 2 + tf.reduce_sum(tf.exp(gradient) * gradient)

    return number(tf.reshape(tf.range(9.0), (3, 3)) / 9).numpy().item()


@pytest.mark.slow
def test_where_tensorflow_chooses_what_xla_compiles_the_op_runs_as_it_is():
    """In a process of its own: XLA's settings are read once."""
    flags = "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit --tf_xla_min_cluster_size=1"
    process = run_python("-c", CLUSTERED, TF_XLA_FLAGS=flags, TF_CPP_MIN_LOG_LEVEL="0")
    assert process.returncode == 0, process.stderr
    value = json.loads(process.stdout.splitlines()[-1])
    np.testing.assert_allclose(value, value_and_gradient_in_other_ops(), rtol=1e-6)
    assert "Compiled cluster using XLA" in process.stderr
    assert "CbKeras" not in process.stderr  # it is in none of the clusters
