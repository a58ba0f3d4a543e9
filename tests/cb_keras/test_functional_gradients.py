"""Gradients against closed forms and against float64 central differences."""

import numpy as np
import pytest

from tests.cb_keras import reference
from tests.cb_keras.cases import (
    FORMULAS,
    IDS,
    LOGITS,
    LOSSES,
    TARGETS,
    WEIGHTS,
    every_formula,
    kinds,
)
from tests.cb_keras.gradients import central_differences, compiled, value_and_gradient

gammas = pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
labels = pytest.mark.parametrize("labels", [IDS, TARGETS], ids=["sparse", "one-hot"])


@pytest.mark.parametrize(
    ("kind", "gradient"),
    [
        # logits (0, log 2), label 0, weight 3.
        ("softmax", [3 * (1 / 3 - 1), 3 * 2 / 3]),
        ("sigmoid", [3 * (1 / 2 - 1), 3 * 2 / 3]),
        # f(z) = (1-p) -log p: f' = (1-p) (p log p - (1-p)); at p = 1/2 and, mirrored, 1/3.
        (
            "focal",
            [3 * (1 / 2) * (-np.log(2) / 2 - 1 / 2), -3 * (2 / 3) * (-np.log(3) / 3 - 2 / 3)],
        ),
    ],
)
def test_a_gradient_by_hand_and_by_the_reference(kind, gradient):
    logits = np.array([[0, np.log(2)]])
    _, ours = value_and_gradient(lambda z: LOSSES[kind]([0], z, [3.0, 5.0]), logits)
    np.testing.assert_allclose(ours, [gradient], rtol=1e-6)
    closed = reference.gradient(kind, logits, [[1, 0]], [3.0])
    np.testing.assert_allclose(closed, [gradient], rtol=1e-12)


@labels
@every_formula
def test_the_gradient_is_the_closed_form(kind, kwargs, labels):
    expected = reference.gradient(kind, LOGITS, TARGETS, WEIGHTS[IDS], **kwargs)

    def loss(z):
        return LOSSES[kind](labels, z, WEIGHTS, **kwargs)

    for dtype, tolerance in (("float32", 1e-5), ("float64", 1e-12)):
        _, gradient = value_and_gradient(loss, LOGITS, dtype)
        assert gradient.dtype == dtype
        np.testing.assert_allclose(gradient, expected, rtol=tolerance, atol=tolerance / 10)


@pytest.mark.parametrize(
    ("kind", "kwargs", "labels"),
    [
        *((*formula, IDS) for formula in FORMULAS),
        *((*formula, TARGETS) for formula in FORMULAS if formula[1].get("gamma", 2.0) == 2.0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_gradient_is_the_central_difference(kind, kwargs, labels):
    def loss(z):
        return LOSSES[kind](labels, z, WEIGHTS, **kwargs)

    expected = central_differences(loss, LOGITS)
    for dtype, tolerance in (("float32", 1e-5), ("float64", 1e-8)):
        _, gradient = value_and_gradient(loss, LOGITS, dtype)
        np.testing.assert_allclose(gradient, expected, rtol=tolerance, atol=tolerance / 10)


@kinds
def test_the_gradient_of_soft_labels_is_the_closed_form(kind):
    soft = np.array([[0.7, 0.3, 0], [0, 0.5, 0.5], [0.2, 0.2, 0.6], [1, 0, 0]])
    expected = reference.mixed(reference.gradient, kind, LOGITS, soft, WEIGHTS)
    _, gradient = value_and_gradient(lambda z: LOSSES[kind](soft, z, WEIGHTS), LOGITS)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@kinds
def test_the_gradient_of_low_precision_logits_is_rounded_only_at_the_end(kind, dtype):
    logits = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])  # exact in either type
    expected = reference.gradient(kind, logits, TARGETS[:2], WEIGHTS[IDS[:2]])
    value, gradient = value_and_gradient(lambda z: LOSSES[kind](IDS[:2], z, WEIGHTS), logits, dtype)
    assert value.dtype == np.float32
    tolerance = {"bfloat16": 2**-8, "float16": 2**-11}[dtype]  # half a unit in the last place
    np.testing.assert_allclose(gradient.astype("float64"), expected, rtol=1.01 * tolerance)


@pytest.mark.parametrize("case", ["eager, sparse", "eager, one-hot", "compiled, sparse"])
@every_formula
def test_loss_and_gradient_are_finite_up_to_logits_of_ten_thousand(kind, kwargs, case):
    sizes = np.array([0, 1e-6, 1, 10, 50, 88, 89, 104, 500, 1e3, 1e4])
    z = np.concatenate([-sizes[::-1], sizes])
    logits = np.stack(np.meshgrid(z, z), axis=-1).reshape(-1, 2)
    targets = np.tile([1.0, 0.0], (len(logits), 1))
    labels = targets if "one-hot" in case else np.zeros(len(logits), "int32")

    def loss(z):
        return LOSSES[kind](labels, z, [1.0, 2.0], **kwargs)

    value, gradient = value_and_gradient(compiled(loss) if "compiled" in case else loss, logits)
    expected = reference.loss(kind, logits, targets, **kwargs)
    np.testing.assert_allclose(value, expected, rtol=2e-5, atol=1e-6)
    slope = reference.gradient(kind, logits, targets, **kwargs)
    np.testing.assert_allclose(gradient, slope, rtol=2e-5, atol=1e-6)


@gammas
def test_soft_labels_at_logits_of_ten_thousand_are_finite(gamma):
    logits = np.array([[1e4, -1e4], [-1e4, 1e4]])
    soft = np.full((2, 2), 0.5)
    value, gradient = value_and_gradient(lambda z: LOSSES["focal"](soft, z, gamma=gamma), logits)
    np.testing.assert_allclose(value, [1e4, 1e4])  # half of each output is wrong by 1e4
    np.testing.assert_allclose(gradient, np.sign(logits) / 2, rtol=1e-6)


@every_formula
def test_the_weight_scales_the_gradient_and_does_not_leak_into_the_focal_factor(kind, kwargs):
    _, plain = value_and_gradient(lambda z: LOSSES[kind](IDS, z, **kwargs), LOGITS)
    _, weighted = value_and_gradient(lambda z: LOSSES[kind](IDS, z, WEIGHTS, **kwargs), LOGITS)
    np.testing.assert_allclose(weighted, plain * WEIGHTS[IDS][:, None], rtol=1e-5)


@pytest.mark.parametrize("targets", [TARGETS, np.full_like(TARGETS, 0.25)], ids=["0 and 1", "soft"])
@every_formula
def test_the_gradient_by_the_labels_is_the_difference_of_the_terms(kind, kwargs, targets):
    def loss(y):
        return LOSSES[kind](y, LOGITS.astype("float32"), **kwargs)

    _, gradient = value_and_gradient(loss, targets)
    expected, zeros = np.zeros_like(LOGITS), np.zeros_like(LOGITS)
    for c in range(3):  # the loss is linear in the labels
        step = reference.one_hot(np.full(4, c), 3)
        rise = reference.loss(kind, LOGITS, step, **kwargs)
        expected[:, c] = rise - reference.loss(kind, LOGITS, zeros, **kwargs)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)
