"""The asymmetric loss against its formula in float64."""

import keras
import numpy as np
import pytest
from scipy.special import expit, log_expit

from cb_keras import functional, losses
from tests.cb_keras.cases import number
from tests.cb_keras.gradients import BACKEND, evaluate, value_and_gradient

GRID = np.array([-100.0, -20.0, -5.0, -2.9, -1.0, 0.0, 1.0, 5.0, 20.0, 100.0])
LOGITS = np.stack([GRID, GRID, GRID])
LABELS = np.stack([np.ones(10), np.zeros(10), np.full(10, 0.25)])
ARGUMENTS = [(4.0, 1.0, 0.05), (0.0, 0.0, 0.0), (2.0, 2.0, 0.0), (0.5, 0.5, 0.2), (0.0, 3.0, 1e-9)]


def reference(labels, logits, gamma_negative, gamma_positive, margin):
    """Loss and gradient of each element, from the paper's equations; easy negatives cost 0."""
    p, not_p = expit(logits), expit(-logits)
    positive = not_p**gamma_positive * -log_expit(logits)
    rise = not_p**gamma_positive * (gamma_positive * p * log_expit(logits) - not_p)
    q, not_q = np.maximum(p - margin, 0), np.minimum(not_p + margin, 1)
    easy = q == 0
    some = np.where(easy, 1, q)
    minus_log = np.where(q < 0.5, -np.log1p(-q), -np.log(not_q))
    negative = np.where(easy, 0, some**gamma_negative * minus_log)
    slope = gamma_negative * some ** (gamma_negative - 1) * minus_log + some**gamma_negative / not_q
    fall = np.where(easy, 0, slope * p * not_p)
    value = labels * positive + (1 - labels) * negative
    return value, labels * rise + (1 - labels) * fall


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_loss_and_gradient_are_those_of_the_formula_also_at_logits_of_100(arguments):
    right, slope = reference(LABELS, LOGITS, *arguments)
    for dtype, rtol in (("float32", 1e-4), ("float64", 1e-7)):
        value, gradient = value_and_gradient(
            lambda z: functional.asymmetric_crossentropy(LABELS, z, *arguments), LOGITS, dtype
        )
        np.testing.assert_allclose(value, right.sum(-1), rtol=rtol)
        # PyTorch's softplus is the identity above 20, so that its slopes are off by 2e-9 there.
        rtol, atol = (max(rtol, 1e-5), 1e-8) if BACKEND == "torch" else (rtol, 1e-4 * rtol)
        np.testing.assert_allclose(gradient, slope, rtol=rtol, atol=atol)


def test_a_positive_label_at_a_logit_of_minus_100_has_a_gradient():
    """With a clamp of p at 1e-8, as in timm, it has none, and the label is never learned."""
    _, gradient = value_and_gradient(
        lambda z: functional.asymmetric_crossentropy([[1.0, 1.0]], z), np.array([[-100.0, -30.0]])
    )
    np.testing.assert_allclose(gradient, [[-1.0, -1.0]], rtol=1e-5)


def test_without_a_margin_and_with_one_gamma_it_is_the_focal_loss_of_keras(rng):
    logits, labels = rng.normal(0, 2, (5, 3)), rng.integers(0, 2, (5, 3)).astype("float64")
    peer = keras.losses.BinaryFocalCrossentropy(gamma=2.0, from_logits=True, reduction="sum")
    ours = losses.AsymmetricCrossentropy(2.0, 2.0, 0.0, reduction="sum")
    right = 3 * evaluate(lambda z: peer(labels, z), logits)
    np.testing.assert_allclose(evaluate(lambda z: ours(labels, z), logits), right, rtol=1e-4)


def test_near_the_margin_nothing_cancels():
    """At p - margin = 1e-6, where float32 has lost all but one digit of the difference."""
    p = 0.05 + 1e-6
    logit = np.array([[np.log(p / (1 - p))]]).astype("float32")
    right, _ = reference(0.0, logit.astype("float64"), 1.0, 1.0, 0.05)
    value = evaluate(lambda z: functional.asymmetric_crossentropy([[0.0]], z, 1.0), logit)
    np.testing.assert_allclose(value, right[0], rtol=0.25)


def test_sample_weights_and_the_mean_are_by_example(rng):
    logits, labels = rng.normal(0, 2, (4, 3)), rng.integers(0, 2, (4, 3)).astype("float64")
    weight = np.array([1.0, 0.0, 2.0, 1.0])
    right = (weight * reference(labels, logits, 4.0, 1.0, 0.05)[0].sum(-1)).sum() / 4
    labels[1] = np.nan
    value, gradient = value_and_gradient(
        lambda z: losses.AsymmetricCrossentropy()(labels, z, weight), logits
    )
    np.testing.assert_allclose(value, right, rtol=1e-5)
    assert (gradient[1] == 0).all()
    assert (gradient[0] != 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma_negative": -1}, "`gamma_negative` must be"),
        ({"gamma_positive": "1"}, "`gamma_positive` must be"),
        ({"margin": 1.0}, r"`margin` must be in \[0, 1\), got 1.0"),
        ({"margin": float("nan")}, "`margin` must be"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        losses.AsymmetricCrossentropy(**arguments)


def test_the_configuration_and_a_saved_model_give_the_same_loss(tmp_path):
    loss = losses.AsymmetricCrossentropy(3.0, 0.5, 0.1, from_logits=False, reduction="sum")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.compile("sgd", loss)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").loss
    assert loaded.get_config() == loss.get_config()
    p = expit(LOGITS[:, 2:8]).astype("float32")
    right = reference(LABELS[:, 2:8], LOGITS[:, 2:8], 3.0, 0.5, 0.1)[0].sum()
    np.testing.assert_allclose(number(loaded(LABELS[:, 2:8], p)), right, rtol=1e-4)
