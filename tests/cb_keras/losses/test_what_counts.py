"""Examples that do not count, or count for nothing, make no NaN; weights fall on their examples."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from cb_keras import functional
from tests.cb_keras import reference
from tests.cb_keras.cases import (
    CLASSES,
    IDS,
    LOGITS,
    LOSSES,
    WEIGHTS,
    kinds,
    kinds_both_ways,
    number,
)
from tests.cb_keras.gradients import value_and_gradient

# The second example is to be left out; nothing in it may be looked at.
BROKEN = np.where(np.arange(4)[:, None] == 1, [np.inf, -np.inf, np.nan], LOGITS)
HUGE = np.where(np.arange(4)[:, None] == 1, [3e38, -3e38, 3e38], LOGITS)  # the loss would overflow
KEPT = np.array([0, 2, 3])


class WithMask(layers.Layer):
    """Steps of T x C logits, with the mask of the steps."""

    def __init__(self, shape):
        super().__init__()
        self.supports_masking = True

    def call(self, x):
        return ops.reshape(x, (-1, 3, 9, 3))[:, :, :3]


def expected(kind, reduction):
    """Losses and gradients in float64, of the sum where there is no reduction."""
    targets, weight = reference.one_hot(IDS, 3)[KEPT], WEIGHTS[IDS][KEPT]
    losses, gradient = np.zeros(4), np.zeros((4, 3))
    losses[KEPT] = reference.loss(kind, LOGITS[KEPT], targets, weight)
    gradient[KEPT] = reference.gradient(kind, LOGITS[KEPT], targets, weight)
    if reduction is None:
        return losses, gradient
    divisor = {"sum": 1, "sum_over_batch_size": 4, "mean_with_sample_weight": 3}[reduction]
    return losses.sum() / divisor, gradient / divisor


@pytest.mark.parametrize("form", ["ids", "dense"])
@pytest.mark.parametrize(
    ("label", "logits", "reduction"),
    [
        (255, BROKEN, "sum_over_batch_size"),
        (-1, BROKEN, "sum"),
        (1, HUGE, "mean_with_sample_weight"),
        (1, BROKEN, None),
    ],
)
@kinds_both_ways
def test_a_sample_weight_of_zero_leaves_an_example_out_whatever_is_in_it(
    kind, reduction, label, logits, form
):
    second, sample_weight = np.arange(4) == 1, np.array([1, 0, 1, 1.0])
    labels = np.where(second, label, IDS)
    if form == "dense":
        labels = np.where(second[:, None], label, reference.one_hot(IDS, 3))
    loss = CLASSES[kind](class_weights=WEIGHTS, reduction=reduction)
    value, gradient = value_and_gradient(lambda z: loss(labels, z, sample_weight), logits)
    right, right_gradient = expected(kind, reduction)
    np.testing.assert_allclose(value, right, rtol=1e-5)
    np.testing.assert_allclose(gradient, right_gradient, rtol=1e-5, atol=1e-7)
    assert (gradient[1] == 0).all()


@kinds_both_ways
def test_masked_steps_may_hold_anything(kind):
    # As KEPT alone would be, under the mean: Keras' mask leaves an example out of the divisor.
    inputs = keras.Input((4, 3))
    masked = layers.Masking(9.0)(inputs)
    model = keras.Model(inputs, masked)
    x = np.where(np.arange(4)[:, None] == 1, 9.0, LOGITS)[None].astype("float32")
    labels = np.where(np.arange(4) == 1, 255, IDS)[None]
    loss = CLASSES[kind](class_weights=WEIGHTS)
    value = loss(labels, model(x))
    right = expected(kind, "mean_with_sample_weight")[0]
    np.testing.assert_allclose(number(value), right, rtol=1e-5)


@kinds_both_ways
def test_a_mask_of_the_first_axes_falls_on_them(kind, rng):
    # [N, T] for losses [N, T, T]: numpy would lay it along the last axes.
    labels = rng.integers(0, 3, (3, 3, 3))
    steps = np.array([[1, 2, 0], [1, 0, 0], [1, 2, 3]])
    inputs = keras.Input((3,))
    embedded = layers.Embedding(4, 27, mask_zero=True, embeddings_initializer="zeros")(inputs)
    model = keras.Model(inputs, WithMask((3, 9))(embedded))
    model.layers[1].set_weights([np.tile(rng.normal(size=27), (4, 1))])
    outputs = model(steps)
    losses = reference.loss(kind, number(outputs), reference.one_hot(labels, 3), WEIGHTS[labels])
    value = CLASSES[kind](class_weights=WEIGHTS, reduction="sum")(labels, outputs)
    np.testing.assert_allclose(number(value), losses[steps > 0].sum(), rtol=1e-5)


@kinds_both_ways
def test_an_invalid_label_that_counts_is_still_refused(kind):
    labels, sample_weight = np.array([0, 255, 2, 2]), np.array([1, 1, 0, 1.0])
    with pytest.raises(ValueError, match=r"`y_true` holds 255 at position \[1\]"):
        CLASSES[kind](class_weights=WEIGHTS)(labels, LOGITS, sample_weight)


@pytest.mark.parametrize("form", ["ids", "one-hot"])
@kinds
def test_a_class_of_weight_zero_has_no_loss_and_no_gradient_whatever_its_logits(kind, form):
    labels = IDS if form == "ids" else reference.one_hot(IDS, 3)
    weights = np.array([0.2, 0.0, 2.1])
    value, gradient = value_and_gradient(
        lambda z: LOSSES[kind](labels, z, ops.convert_to_tensor(weights, "float32")), BROKEN
    )
    right, right_gradient = expected(kind, None)
    np.testing.assert_allclose(value, right, rtol=1e-5)
    np.testing.assert_allclose(gradient, right_gradient, rtol=1e-5, atol=1e-7)


@kinds
def test_the_gradient_by_a_class_weight_of_zero_is_the_loss_of_its_examples(kind):
    weights = np.array([0.2, 0.0, 2.1])
    _, gradient = value_and_gradient(lambda w: LOSSES[kind](IDS, LOGITS, w), weights)
    unweighted = reference.loss(kind, LOGITS, reference.one_hot(IDS, 3))
    right = [unweighted[c == IDS].sum() for c in range(3)]
    np.testing.assert_allclose(gradient, right, rtol=1e-5)


@kinds_both_ways
def test_weights_of_the_images_fall_on_their_own_pixels(kind, rng):
    # Numpy would lay them along the columns, without a word where there are as many of these.
    logits, labels = rng.normal(size=(5, 4, 5, 3)), rng.integers(0, 3, (5, 4, 5))
    weight = np.array([1.0, 2.0, 3.0, 4.0, 0.0])
    losses = reference.loss(kind, logits, reference.one_hot(labels, 3), WEIGHTS[labels])
    right = (losses * weight[:, None, None]).sum() / 100
    loss = CLASSES[kind](class_weights=WEIGHTS)
    for shape in ((5,), (5, 1), (5, 1, 1), (5, 1, 1, 1)):
        value = loss(labels, logits, weight.reshape(shape))
        np.testing.assert_allclose(number(value), right, rtol=1e-5)
    with pytest.raises(ValueError, match=r"`sample_weight` has shape \(4,\).*\(5, 4, 5\)"):
        loss(labels, logits, np.ones(4))


@pytest.mark.parametrize("label", [-1.0, 2.0, 255.0, np.nan])
@pytest.mark.parametrize("kind", ["sigmoid", "focal"])
@pytest.mark.usefixtures("unseen")
def test_a_multi_hot_label_outside_of_0_to_1_makes_its_example_nan(kind, label):
    # CheXpert's "uncertain" is -1: its loss would be negative and have no lower bound.
    labels = np.array([[1.0, 0, 1], [1, label, 0], [0, 0, 0], [1, 1, 1]])
    for weights in (None, WEIGHTS):
        value, gradient = value_and_gradient(
            lambda z, w=weights: LOSSES[kind](labels, z, w), LOGITS
        )
        assert np.isnan(gradient).all(axis=1).tolist() == [False, True, False, False]
        assert np.isnan(value).tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    "weights", [[-1.0, 1, 1], [np.nan, 1, 1], ["a", "b", "c"], {0: 1, 1: -1, 2: 1}], ids=str
)
def test_class_weights_of_the_functions_are_checked_as_those_of_the_classes(weights):
    with pytest.raises(ValueError, match="`class_weights` must be"):
        functional.class_balanced_softmax_crossentropy(IDS, LOGITS, weights)


def test_class_weights_made_of_tensors_are_taken_as_they_are():
    weight = ops.convert_to_tensor(0.5, dtype="float32")
    listed = functional.class_balanced_softmax_crossentropy(
        IDS, LOGITS, [weight, 2 * weight, weight]
    )
    stacked = functional.class_balanced_softmax_crossentropy(IDS, LOGITS, [0.5, 1.0, 0.5])
    np.testing.assert_array_equal(number(listed), number(stacked))
