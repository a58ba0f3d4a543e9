"""What the op's softmax losses take besides plain class ids, against float64.

Dense labels, label smoothing, the focal factor, a class to be ignored; the kernels of few classes
and of many, and each instruction set's in ops/check.
"""

import numpy as np
import pytest

from cb_keras import fused
from tests.cb_keras.cases import LOSSES
from tests.cb_keras.fused.cases import exact_softmax_focal, logits_of, multi_hot, tf
from tests.cb_keras.gradients import value_and_gradient

pytestmark = pytest.mark.usefixtures("fused_op")


def problem(form, classes, rng):
    """Labels, targets (labels times weights), class weights."""
    weights = rng.uniform(0.1, 3, classes).astype("float32")
    ids = rng.integers(0, classes, 101)
    dense = {
        "ids": np.eye(classes)[ids],
        "one-hot": np.eye(classes)[ids],
        "multi-hot": multi_hot(101, classes, rng),
        "soft": rng.dirichlet(np.ones(classes), 101),
    }[form].astype("float32")
    labels = ids if form == "ids" else dense
    return labels, dense.astype("float64") * weights, weights


@pytest.mark.parametrize("form", ["ids", "one-hot", "multi-hot", "soft"])
@pytest.mark.parametrize("classes", [2, 10, 40])
@pytest.mark.parametrize(
    ("kind", "gamma", "smoothing"),
    [
        *(("softmax", 0.0, 0.0), ("softmax", 0.0, 0.1), ("softmax_focal", 1.0, 0.0)),
        *(("softmax_focal", 2.0, 0.0), ("softmax_focal", 0.3, 0.0), ("softmax_focal", 7.0, 0.0)),
    ],
)
def test_loss_and_gradient_are_the_float64_reference(kind, gamma, smoothing, classes, form, rng):
    labels, targets, weights = problem(form, classes, rng)
    logits = logits_of(101, classes, rng)
    loss, slope = exact_softmax_focal(logits, targets, gamma, smoothing)

    def by_op(z):
        return fused.crossentropy(kind, labels, z, weights, gamma, label_smoothing=smoothing)

    value, gradient = value_and_gradient(by_op, logits)
    np.testing.assert_allclose(value, loss, rtol=1e-5, atol=1e-30)
    size = np.abs(targets).sum(-1, keepdims=True)  # what is subtracted from what
    assert (np.abs(gradient - slope) <= 1e-5 * np.abs(slope) + 2e-6 * (1 + gamma) * size).all()
    if form in ("ids", "one-hot") and not smoothing:  # nothing cancels
        np.testing.assert_allclose(gradient, slope, rtol=2e-5, atol=1e-30)


@pytest.mark.parametrize("classes", [3, 33])
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint64", "float32", "float64"])
@pytest.mark.parametrize("kind", LOSSES)
def test_an_ignored_row_has_loss_and_gradient_zero_whatever_it_holds(kind, dtype, classes, rng):
    labels = np.array([0, 255, 2, 255]).astype(dtype)
    logits = rng.normal(size=(4, classes))
    logits[1] = np.nan

    def by_op(z):
        weights = np.ones(classes, "float32")
        return fused.crossentropy(kind, labels, z, weights, 1.0, ignore_class=255)

    value, gradient = value_and_gradient(by_op, logits)
    assert (value[[1, 3]] == 0).all()
    assert (gradient[[1, 3]] == 0).all()
    assert (value[[0, 2]] > 0).all()
    assert np.isfinite(gradient).all()
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"holds 255 at position \[1\]"):
        fused.crossentropy(kind, labels, logits.astype("float32"), np.ones(classes), 1.0)


def test_the_gradient_by_weights_leaves_ignored_rows_out():
    labels, z = tf.constant([0, 255, 2, 1]), tf.zeros((4, 3))
    weights = tf.ones(3)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        losses = fused.crossentropy("softmax", labels, z, weights, ignore_class=255)
    np.testing.assert_allclose(tape.gradient(losses, weights), np.full(3, np.log(3)), rtol=1e-6)


@pytest.mark.parametrize("kind", ["sigmoid", "softmax_focal"])
def test_smoothing_of_other_losses_and_ignoring_with_dense_labels_are_refused(kind):
    with pytest.raises(ValueError, match="`label_smoothing` must be 0 for"):
        fused.crossentropy(kind, [0], tf.zeros((1, 3)), np.ones(3), label_smoothing=0.1)
    with pytest.raises(ValueError, match="`ignore_class` must be None with dense labels"):
        fused.crossentropy(kind, np.eye(3), tf.zeros((3, 3)), np.ones(3), ignore_class=1)
