"""The focal modulator as the official code of Cui et al. 2019 writes it, and where it breaks.

`literal_focal` follows `src/cifar_main.py` of richardaecn/class-balanced-loss: the modulator
`exp(-gamma * labels * logits - gamma * log1p(exp(-logits)))` times the sigmoid cross-entropy.
The right values are `reference.py`'s, in float64 from the paper's equation 11.
"""

import numpy as np
import pytest
from keras import ops

from cb_keras import functional
from tests.cb_keras import reference
from tests.cb_keras.gradients import BACKEND, value_and_gradient

if BACKEND == "jax":
    pytest.skip("shown on TensorFlow and PyTorch: it is about a formula", allow_module_level=True)
gammas = pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
# exp(-z) is no longer a float32 below this logit: -88.72.
LIMIT = -np.log(np.finfo("float32").max.astype("float64"))


def literal_focal(labels, logits, gamma):
    """The official formula in the backend's own operations, one value per example."""
    labels = ops.convert_to_tensor(labels, dtype=logits.dtype)
    modulator = ops.exp(-gamma * labels * logits - gamma * ops.log1p(ops.exp(-1.0 * logits)))
    crossentropy = ops.binary_crossentropy(labels, logits, from_logits=True)
    return ops.sum(modulator * crossentropy, axis=-1)


def literal(labels, logits, gamma):
    return value_and_gradient(lambda z: literal_focal(labels, z, gamma), logits)


def ours(labels, logits, gamma, weights=None):
    return value_and_gradient(
        lambda z: functional.class_balanced_focal_crossentropy(labels, z, weights, gamma), logits
    )


@gammas
def test_the_official_formula_is_ours_on_moderate_logits(gamma, rng):
    logits = rng.uniform(-10, 10, (200, 5))
    labels = reference.one_hot(rng.integers(0, 5, 200), 5)
    value, gradient = literal(labels, logits, gamma)
    our_value, our_gradient = ours(labels, logits, gamma)
    np.testing.assert_allclose(our_value, value, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(our_gradient, gradient, rtol=1e-4, atol=1e-6)


def test_at_label_1_and_logit_minus_100_the_official_formula_gives_0_and_ours_100():
    labels, logits = np.array([[1.0]]), np.array([[-100.0]])
    np.testing.assert_allclose(reference.loss("focal", logits, labels), [100], rtol=1e-12)
    np.testing.assert_allclose(reference.gradient("focal", logits, labels), [[-1]], rtol=1e-12)
    value, gradient = literal(labels, logits, 1.0)
    assert value[0] == 0
    assert np.isnan(gradient[0, 0])
    value, gradient = ours(labels, logits, 1.0)
    np.testing.assert_allclose(value, [100], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-1]], rtol=1e-6)


@pytest.mark.parametrize("label", [0.0, 1.0])
@gammas
def test_the_official_formula_fails_below_minus_88_7_whatever_the_label_and_ours_nowhere(
    gamma, label
):
    """Label 1: the loss vanishes. Either label: the gradient is NaN, which spoils a whole batch."""
    logits = np.arange(-200.0, 201.0)[:, None]
    labels = np.full_like(logits, label)
    expected = reference.loss("focal", logits, labels, gamma=gamma)
    slope = reference.gradient("focal", logits, labels, gamma=gamma)
    value, gradient = literal(labels, logits, gamma)
    too_low = logits[:, 0] < LIMIT
    assert too_low.sum() == 112  # -200 to -89
    np.testing.assert_array_equal(value[too_low], 0)
    assert np.isnan(gradient[too_low]).all()
    sure = logits[:, 0] >= -87  # PyTorch 2.6 fails at -88 already
    np.testing.assert_allclose(value[sure], expected[sure], rtol=1e-4, atol=1e-6)
    exact = logits[:, 0] >= -70  # TensorFlow's own gradient of the formula is rough before it fails
    np.testing.assert_allclose(gradient[exact], slope[exact], rtol=1e-4, atol=1e-6)
    value, gradient = ours(labels, logits, gamma)
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-6)


@gammas
def test_the_class_weight_multiplies_the_official_formula_from_outside(gamma, rng):
    logits, ids = rng.uniform(-10, 10, (50, 3)), rng.integers(0, 3, 50)
    weights = np.array([0.2, 0.7, 2.1])
    value, gradient = literal(reference.one_hot(ids, 3), logits, gamma)
    our_value, our_gradient = ours(ids, logits, gamma, weights)
    np.testing.assert_allclose(our_value, weights[ids] * value, rtol=1e-4, atol=1e-6)
    expected = weights[ids, None] * gradient
    np.testing.assert_allclose(our_gradient, expected, rtol=1e-4, atol=1e-6)


def focal_of_weighted_crossentropy(logits, labels, weight, gamma):
    """`losses.py` of kaidic/LDAM-DRW, but of the sigmoid: `p_t = exp(-weighted CE)`."""
    crossentropy = weight * reference.loss("sigmoid", logits, labels)
    return (1 - np.exp(-crossentropy)) ** gamma * crossentropy


@pytest.mark.parametrize(
    ("weight", "right", "leaking"),
    [
        # logit 0, label 1, gamma 1: CE = log 2, p_t = 1/2.
        (1, 1 / 2 * np.log(2), 1 / 2 * np.log(2)),
        # With the weight in it, p_t = exp(-3 log 2) = 1/8, and exp(-log(2) / 2) = 1 / sqrt 2.
        (3, 1 / 2 * 3 * np.log(2), 7 / 8 * 3 * np.log(2)),
        (1 / 2, 1 / 2 * np.log(2) / 2, (1 - np.sqrt(1 / 2)) * np.log(2) / 2),
    ],
)
def test_the_class_weight_does_not_enter_p_t_as_in_ldam_drw(weight, right, leaking):
    logits, labels = np.array([[0.0]]), np.array([[1.0]])
    trap = focal_of_weighted_crossentropy(logits, labels, weight, gamma=1.0)
    np.testing.assert_allclose(trap, [leaking], rtol=1e-12)
    value, _ = ours(labels, logits, 1.0, [float(weight)])
    np.testing.assert_allclose(value, [right], rtol=1e-6)
