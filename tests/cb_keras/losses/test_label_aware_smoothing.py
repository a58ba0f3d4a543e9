"""Label-aware smoothing: shares, values and slopes from the paper's formulas in float64."""

import keras
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

import cb_keras
from cb_keras import functional, losses
from cb_keras.functional.label_aware import smoothing_by_class
from tests.cb_keras.cases import COUNTS, IDS, LOGITS, TARGETS, WEIGHTS, number
from tests.cb_keras.gradients import value_and_gradient

SOFT = np.array([[0.7, 0.3, 0], [0, 0.5, 0.5], [0.2, 0.2, 0.6], [0, 0, 0]])
# Zhong et al. 2021, equation 4 in its concave form, of 900, 90 and 9 examples.
SHARES = 0.05 + 0.35 * np.sin(np.pi * (np.array(COUNTS) - 9) / (2 * (900 - 9)))


def targets_of(labels, shares):
    """Labels `[N, C]` of which each class's share is spread over the others: equation 3."""
    others = (1 - np.eye(3)) / 2
    rows = (1 - shares)[:, None] * np.eye(3) + shares[:, None] * others
    return labels @ rows


def test_the_shares_go_from_the_head_to_the_tail_on_a_quarter_of_a_sine():
    found = smoothing_by_class(COUNTS, 0.4, 0.05)
    np.testing.assert_allclose(found, SHARES, rtol=1e-12)
    assert found[[0, 2]] == pytest.approx([0.4, 0.05])
    assert smoothing_by_class([7, 7]).tolist() == [0.3, 0.3]


@pytest.mark.parametrize("form", ["ids", "soft"])
def test_value_and_slope_are_those_of_the_smoothed_labels_of_the_paper(form):
    labels, dense = (IDS, TARGETS) if form == "ids" else (SOFT, SOFT)

    def loss(z):
        return functional.label_aware_smoothing_crossentropy(
            labels, z, COUNTS, 0.4, 0.05, class_weights=WEIGHTS
        )

    value, gradient = value_and_gradient(loss, LOGITS)
    # A share e over all three classes is one of 2/3 e over the two others.
    right = targets_of(dense * WEIGHTS, SHARES * 2 / 3)
    np.testing.assert_allclose(value, -(right * log_softmax(LOGITS, -1)).sum(1), rtol=1e-5)
    slope = right.sum(1, keepdims=True) * softmax(LOGITS, -1) - right
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-6)


def test_the_class_is_its_mean_keeps_its_settings_and_leaves_void_examples_out():
    loss = losses.LabelAwareSmoothingCrossentropy(COUNTS, 0.4, 0.05, ignore_class=255)
    right = -(targets_of(TARGETS, SHARES * 2 / 3) * log_softmax(LOGITS, -1)).sum(1)
    assert float(number(loss(IDS, LOGITS))) == pytest.approx(right.mean(), rel=1e-5)
    void, wild = np.where(np.arange(4) == 2, 255, IDS), LOGITS.copy()
    wild[2] = [np.inf, np.nan, 0]
    assert float(number(loss(void, wild))) == pytest.approx(right[[0, 1, 3]].mean(), rel=1e-5)
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert copy.get_config() == loss.get_config()
    assert (copy.head, copy.tail, copy.class_counts) == (0.4, 0.05, COUNTS)


def test_shares_out_of_range_and_empty_classes_are_refused():
    make = losses.LabelAwareSmoothingCrossentropy
    with pytest.raises(ValueError, match=r"`head` must be in \[0, 1\], got 1\.5"):
        make(COUNTS, head=1.5)
    with pytest.raises(ValueError, match=r"`tail` must be in \[0, 1\], got -0.1"):
        make(COUNTS, tail=-0.1)
    with pytest.raises(ValueError, match="no examples of class 1"):
        make([5, 0])


def test_a_scaled_head_is_its_formula_and_is_saved(tmp_path):
    layer = cb_keras.layers.ScaledDense(3, regularizer=keras.regularizers.L2(0.5))
    model = keras.Sequential([keras.Input((3,)), layer])
    rng = np.random.default_rng(0)
    w, b, s = rng.normal(size=(3, 3)), rng.normal(size=3), rng.normal(size=3)
    assert layer.get_weights()[2].tolist() == [1, 1, 1]
    layer.set_weights([w, b, s])
    squares = sum((v**2).sum() for v in (w, b, s))
    assert float(number(sum(model.losses))) == pytest.approx(0.5 * squares, rel=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    found = again.predict(LOGITS.astype("float32"), verbose=0)
    np.testing.assert_allclose(found, (LOGITS @ w + b) * s, rtol=1e-5, atol=1e-6)
