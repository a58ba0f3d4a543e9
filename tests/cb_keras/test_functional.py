"""Values of the per-example losses: by hand, against float64, and in relation to each other.

The float64 numbers are `reference.py`'s, which follows Cui et al. 2019, equations 7, 9 and 11.
"""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from tests.cb_keras import reference
from tests.cb_keras.cases import IDS, LOGITS, LOSSES, TARGETS, WEIGHTS, kinds, loss_of
from tests.cb_keras.gradients import BACKEND, compiled, evaluate, float64_enabled


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        # logits (0, log 2), label 0, weight 3. Softmax: p = 1/3. Sigmoid: p = 1/2 and 2/3.
        ("softmax", 3 * np.log(3)),
        ("sigmoid", 3 * (np.log(2) + np.log(3))),
        ("focal", 3 * (1 / 2 * np.log(2) + 2 / 3 * np.log(3))),  # gamma 1: times 1 - p_t
    ],
)
def test_a_loss_by_hand_and_by_the_reference(kind, value):
    logits = np.array([[0, np.log(2)]])
    np.testing.assert_allclose(loss_of(kind, [0], logits, [3.0, 5.0]), [value], rtol=1e-6)
    np.testing.assert_allclose(reference.loss(kind, logits, [[1, 0]], 3.0), [value], rtol=1e-12)


@kinds
def test_random_losses_are_the_float64_reference(kind, rng):
    logits, ids = rng.normal(0, 4, (200, 7)), rng.integers(0, 7, 200)
    weights = rng.uniform(0.1, 3, 7)
    expected = reference.loss(kind, logits, reference.one_hot(ids, 7), weights[ids])
    np.testing.assert_allclose(loss_of(kind, ids, logits, weights), expected, rtol=1e-5, atol=1e-6)
    doubles = evaluate(lambda z: LOSSES[kind](ids, z, weights), logits, "float64")
    assert doubles.dtype == np.float64
    np.testing.assert_allclose(doubles, expected, rtol=1e-12)


@kinds
def test_without_class_weights_every_weight_is_one(kind):
    for labels in (IDS, TARGETS):
        expected = loss_of(kind, labels, weights=np.ones(3))
        np.testing.assert_allclose(loss_of(kind, labels, weights=None), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@kinds
def test_low_precision_logits_are_computed_in_float32(kind, dtype):
    logits = ops.cast(ops.convert_to_tensor(LOGITS), dtype)  # exact except for 0.1, 0.2, 0.3
    result = LOSSES[kind](IDS, logits, WEIGHTS)
    assert keras.backend.standardize_dtype(result.dtype) == "float32"
    expected = loss_of(kind, IDS, ops.cast(logits, "float32"))
    np.testing.assert_array_equal(ops.convert_to_numpy(result), expected)


@kinds
def test_float32_logits_give_a_float32_loss_where_float64_is_enabled(kind):
    if BACKEND != "jax":
        pytest.skip("float64 is enabled by a setting on JAX only")
    for labels in (IDS, TARGETS):
        with float64_enabled():
            result = LOSSES[kind](labels, ops.convert_to_tensor(LOGITS, "float32"), WEIGHTS)
        assert result.dtype == "float32"


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_of_every_gamma_is_the_float64_reference(gamma, rng):
    logits, ids = rng.normal(0, 6, (200, 5)), rng.integers(0, 5, 200)
    expected = reference.loss("focal", logits, reference.one_hot(ids, 5), gamma=gamma)
    result = loss_of("focal", ids, logits, None, gamma=gamma)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("labels", [IDS, TARGETS])
def test_focal_with_gamma_zero_is_sigmoid(labels):
    focal = loss_of("focal", labels, gamma=0.0)
    np.testing.assert_array_equal(focal, loss_of("sigmoid", labels))
    expected = reference.loss("sigmoid", LOGITS, TARGETS, WEIGHTS[IDS])
    np.testing.assert_allclose(focal, expected, rtol=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-50, 50, width=32), min_size=4, max_size=4), st.floats(0, 5))
def test_focal_is_never_negative_and_never_above_sigmoid(logits, gamma):
    focal = loss_of("focal", [1], [logits], None, gamma=gamma)
    assert 0 <= focal[0] <= loss_of("sigmoid", [1], [logits], None)[0] * (1 + 1e-6)


@pytest.mark.parametrize("from_logits", [True, False])
def test_power_zero_is_keras_own_losses(from_logits):
    """Keras' binary losses average over the C classes, ours (and the paper's) sum."""
    keras_losses = {
        "softmax": [
            (keras.losses.SparseCategoricalCrossentropy, IDS, 1, {}),
            (keras.losses.CategoricalCrossentropy, TARGETS, 1, {}),
        ],
        "sigmoid": [(keras.losses.BinaryCrossentropy, TARGETS, 3, {})],
        "focal": [(keras.losses.BinaryFocalCrossentropy, TARGETS, 3, {"gamma": 2.0})],
    }
    for kind, cases in keras_losses.items():
        predictions = ops.convert_to_tensor(LOGITS, dtype="float32")
        if not from_logits:
            predictions = (ops.softmax if kind == "softmax" else ops.sigmoid)(predictions)
        for theirs, labels, factor, kwargs in cases:
            keras_loss = theirs(from_logits=from_logits, reduction=None, **kwargs)
            expected = factor * ops.convert_to_numpy(keras_loss(labels, predictions))
            ours = loss_of(kind, labels, predictions, None, from_logits=from_logits, **kwargs)
            np.testing.assert_allclose(ours, expected, rtol=1e-5, err_msg=theirs.__name__)


@kinds
def test_probabilities_give_the_loss_of_their_logits(kind):
    logits = ops.convert_to_tensor(LOGITS, dtype="float32")
    probabilities = (ops.softmax if kind == "softmax" else ops.sigmoid)(logits)
    for labels in (IDS, TARGETS):
        result = loss_of(kind, labels, probabilities, from_logits=False)
        np.testing.assert_allclose(result, loss_of(kind, labels), rtol=1e-5)


@kinds
def test_probabilities_zero_and_one_give_a_finite_loss(kind):
    right, wrong = loss_of(kind, [1, 0], [[0, 1], [0, 1]], None, from_logits=False)
    # Keras' epsilon 1e-7 bounds the loss of a class by -log(1e-7) = 16.1.
    bound = 16.2 if kind == "softmax" else 32.4
    assert 0 <= right < 1e-5
    assert 15 < wrong < bound


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_a_logit_of_ten_thousand_costs_ten_thousand(gamma):
    logits = np.array([[-1e4, 1e4], [1e4, -1e4]])  # wrong in both outputs, right in both
    np.testing.assert_allclose(loss_of("focal", [0, 0], logits, None, gamma=gamma), [2e4, 0])
    np.testing.assert_allclose(loss_of("sigmoid", [0, 0], logits, None), [2e4, 0])
    np.testing.assert_allclose(loss_of("softmax", [0, 0], logits, None), [2e4, 0])


@kinds
def test_compiled_is_eager(kind):
    function = compiled(lambda z: LOSSES[kind](IDS, z, WEIGHTS))
    expected = reference.loss(kind, LOGITS, TARGETS, WEIGHTS[IDS])
    np.testing.assert_allclose(evaluate(function, LOGITS), expected, rtol=1e-6)


@pytest.mark.parametrize("mode", ["eager", "graph", "compiled"])
@pytest.mark.parametrize("labels", [IDS, TARGETS], ids=["sparse", "one-hot"])
@kinds
def test_a_nan_logit_gives_a_nan_loss_to_its_example_only(kind, labels, mode):
    function = in_mode(lambda z: LOSSES[kind](labels, z, WEIGHTS), mode)
    for column in range(3):
        logits = LOGITS.copy()
        logits[2, column] = np.nan
        result = evaluate(function, logits)
        np.testing.assert_array_equal(np.isnan(result), [False, False, True, False])


def in_mode(function, mode):
    if mode == "graph" and BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    return compiled(function) if mode == "compiled" else function


@pytest.mark.parametrize(
    "gamma",
    [
        *(-0.1, float("nan"), float("inf"), True, "1", None, [1.0]),
        *(10**400, 3.5e38, np.array([1.0, 2.0]), np.array("x")),  # no float32
    ],
    ids=repr,
)
def test_gamma_out_of_range_is_refused_with_its_value(gamma):
    with pytest.raises(ValueError, match=r"`gamma` must be a finite number >= 0, got ") as error:
        loss_of("focal", IDS, gamma=gamma)
    assert repr(gamma) in str(error.value)


@pytest.mark.parametrize("gamma", [1, 1.0, np.float32(1), np.array(1)])
def test_any_kind_of_number_is_a_gamma(gamma):
    np.testing.assert_array_equal(
        loss_of("focal", IDS, gamma=gamma), loss_of("focal", IDS, gamma=1.0)
    )


def test_a_gamma_that_float32_takes_for_zero_is_the_sigmoid_loss_at_infinite_logits():
    logits = np.array([[104.0, -np.inf], [1.0, 2.0]])
    tiny = loss_of("focal", [0, 1], logits, None, gamma=1.2e-270)
    np.testing.assert_allclose(tiny, loss_of("sigmoid", [0, 1], logits, None), rtol=1e-6)
