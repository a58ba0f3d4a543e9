"""Void labels: no loss, no gradient, and out of every mean, as if they were not there."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.cb_keras import reference
from tests.cb_keras.cases import CLASSES, LOSSES, WEIGHTS, kinds, kinds_both_ways, number
from tests.cb_keras.gradients import value_and_gradient

REDUCTIONS = ["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", None]
IDS = np.array([[0, 1, 2], [2, 1, 0]])
VOID = np.array([[0, 1, 0], [1, 0, 0]], bool)
LOGITS = np.random.default_rng(0).normal(size=(2, 3, 3)).astype("float32")
# Nothing may be looked at where nothing counts.
BROKEN = np.where(VOID[..., None], np.array([np.inf, -np.inf, np.nan], "float32"), LOGITS)


def without_void(kind, reduction, sample_weight=None):
    """Loss and gradient in float64 of the pixels that are left."""
    kept, weight = ~VOID, WEIGHTS[IDS]
    if sample_weight is not None:
        weight = weight * sample_weight
    targets = reference.one_hot(IDS, 3)
    losses, gradient = np.zeros((2, 3)), np.zeros((2, 3, 3))
    losses[kept] = reference.loss(kind, LOGITS[kept], targets[kept], weight[kept])
    gradient[kept] = reference.gradient(kind, LOGITS[kept], targets[kept], weight[kept])
    if reduction is None:
        return losses, gradient
    divisor = 1 if reduction == "sum" else kept.sum()
    if reduction == "mean_with_sample_weight" and sample_weight is not None:
        divisor = sample_weight[kept].sum()
    return losses.sum() / divisor, gradient / divisor


def assert_equal(kind, loss, labels, logits, reduction, sample_weight=None):
    value, gradient = value_and_gradient(lambda z: loss(labels, z, sample_weight), logits)
    right, right_gradient = without_void(kind, reduction, sample_weight)
    np.testing.assert_allclose(value, right, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(gradient, right_gradient, rtol=1e-5, atol=1e-6)
    assert (gradient[VOID] == 0).all()
    if reduction is None:
        assert (value[VOID] == 0).all()


@pytest.mark.parametrize(
    ("void", "dtype", "reduction"),
    [
        *((255, "uint8", "sum_over_batch_size"), (-1, "int32", "mean")),
        *(
            (-100, "int64", "sum"),
            (255, "float32", "mean_with_sample_weight"),
            (255, "int16", None),
        ),
    ],
)
@kinds_both_ways
def test_a_void_pixel_is_as_if_it_were_not_there(kind, void, dtype, reduction):
    labels = np.where(VOID, void, IDS).astype(dtype)
    loss = CLASSES[kind](class_weights=WEIGHTS, reduction=reduction, ignore_class=void)
    assert_equal(kind, loss, labels, BROKEN, reduction)
    weights = np.array([[1.0, 2, 3], [4, 5, 6]])
    assert_equal(kind, loss, labels[..., None], BROKEN, reduction, weights)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.usefixtures("both_ways")
def test_a_keras_mask_and_a_void_label_leave_out_together(reduction):
    # The mask leaves out a pixel of its own, the label another.
    inputs = keras.Input((3, 3))
    model = keras.Model(inputs, keras.layers.Masking(9.0)(inputs))
    x = np.where(np.array([[0, 1, 0], [0, 0, 0]])[..., None], 9.0, LOGITS).astype("float32")
    labels = np.where(np.array([[0, 0, 0], [1, 0, 0]]), 255, IDS)
    loss = CLASSES["softmax"](class_weights=WEIGHTS, reduction=reduction, ignore_class=255)
    value = number(loss(labels, model(x)))
    np.testing.assert_allclose(value, without_void("softmax", reduction)[0], rtol=1e-6)


@kinds_both_ways
def test_a_void_class_may_be_one_of_the_classes(kind):
    loss = CLASSES[kind](class_weights=WEIGHTS, ignore_class=1)
    kept = np.array([[0, 2, 2], [2, 0, 0]])
    labels = np.where(VOID, 1, kept)
    value, gradient = value_and_gradient(lambda z: loss(labels, z), BROKEN)
    losses = reference.loss(kind, LOGITS, reference.one_hot(kept, 3), WEIGHTS[kept])
    np.testing.assert_allclose(value, losses[~VOID].mean(), rtol=1e-6)
    assert (gradient[VOID] == 0).all()
    assert (gradient[~VOID] != 0).all()


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_without_class_weights_it_is_what_keras_computes(reduction):
    # A weight of 0 at a class, and at a void pixel, which stays out of the divisor.
    labels, sample_weight = np.where(VOID, 255, IDS), np.array([[1.0, 0, 0], [4, 5, 6]])
    ours = CLASSES["softmax"](class_weights=[1, 1, 1], reduction=reduction, ignore_class=255)
    theirs = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction=reduction, ignore_class=255
    )
    for weight in (None, sample_weight):
        right = number(theirs(labels, ops.convert_to_tensor(LOGITS), weight))
        np.testing.assert_allclose(number(ours(labels, LOGITS, weight)), right, rtol=1e-6)


@pytest.mark.parametrize("reduction", ["sum", "sum_over_batch_size", "mean_with_sample_weight"])
@kinds
def test_a_sample_weight_of_zero_leaves_the_divisor_where_keras_lets_it(kind, reduction):
    loss = CLASSES[kind](class_weights=WEIGHTS, reduction=reduction)
    value = number(loss(np.where(VOID, 255, IDS), BROKEN, np.where(VOID, 0.0, 1.0)))
    right = without_void(kind, reduction)[0]
    stays = reduction == "sum_over_batch_size"
    np.testing.assert_allclose(value, right * 4 / 6 if stays else right, rtol=1e-6)
    theirs = keras.losses.MeanSquaredError(reduction=reduction)  # whose reductions are Keras' own
    plain = np.where(VOID, 0.0, 2.0)[..., None], np.zeros((2, 3, 1)), np.where(VOID, 0.0, 1.0)
    assert number(theirs(*plain)) == pytest.approx(
        {"sum": 16, "sum_over_batch_size": 16 / 6}.get(reduction, 4)
    )


@kinds
def test_a_batch_of_void_pixels_alone_has_loss_and_gradient_zero(kind):
    loss = CLASSES[kind](class_weights=WEIGHTS, ignore_class=255)
    value, gradient = value_and_gradient(lambda z: loss(np.full((2, 3), 255), z), BROKEN)
    assert value == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@kinds
def test_the_functions_ignore_as_the_classes_do(kind, weights):
    labels = np.where(VOID, 255, IDS).astype("uint8")

    def of_probabilities(p):
        return LOSSES[kind](labels, p, weights, from_logits=False, ignore_class=255)

    value, gradient = value_and_gradient(
        lambda z: LOSSES[kind](labels, z, weights, ignore_class=255), BROKEN
    )
    weight = 1.0 if weights is None else WEIGHTS[IDS]
    right = reference.loss(kind, LOGITS, reference.one_hot(IDS, 3), weight)
    np.testing.assert_allclose(value, np.where(VOID, 0, right), rtol=1e-5)
    assert (value[VOID] == 0).all()
    assert (gradient[VOID] == 0).all()
    probabilities = number(ops.softmax(LOGITS))
    broken = np.where(VOID[..., None], np.nan, probabilities)
    value, gradient = value_and_gradient(of_probabilities, broken)
    assert (value[VOID] == 0).all()
    assert (gradient[VOID] == 0).all()
    assert np.isfinite(gradient).all()


@pytest.mark.usefixtures("unseen")
@kinds
def test_labels_that_are_neither_classes_nor_void_are_not_ignored(kind):
    labels = np.array([[0, 254, 2], [2, 255, 0]])
    value = number(LOSSES[kind](labels, LOGITS, WEIGHTS, ignore_class=255))
    np.testing.assert_array_equal(np.isnan(value), labels == 254)
    assert not (number(LOSSES[kind](IDS.astype("uint8"), LOGITS, ignore_class=-1)) == 0).any()


@kinds
def test_dense_labels_have_no_class_to_ignore(kind):
    loss = CLASSES[kind](class_weights=WEIGHTS, ignore_class=255)
    message = r"`ignore_class` must be None with dense labels, got 255.*`sample_weight` of 0"
    with pytest.raises(ValueError, match=message):
        loss(reference.one_hot(IDS, 3), LOGITS)
    with pytest.raises(ValueError, match=message):
        LOSSES[kind](reference.one_hot(IDS, 3), LOGITS, ignore_class=255)


@pytest.mark.parametrize("bad", [0.5, "255", True, np.nan, 2**24, -(2**31)])
def test_an_ignore_class_that_is_not_a_label_is_refused(bad):
    with pytest.raises(ValueError, match="`ignore_class` must be a whole number"):
        CLASSES["softmax"](class_weights=WEIGHTS, ignore_class=bad)
    with pytest.raises(ValueError, match="`ignore_class` must be a whole number"):
        LOSSES["softmax"](IDS, LOGITS, ignore_class=bad)
