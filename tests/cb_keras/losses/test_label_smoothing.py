"""Label smoothing comes after the weight; dense labels of the softmax loss mix weighted losses."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.cb_keras import reference
from tests.cb_keras.cases import CLASSES, IDS, LOGITS, LOSSES, TARGETS, WEIGHTS, number
from tests.cb_keras.gradients import value_and_gradient

SOFT = np.array([[0.7, 0.3, 0], [0, 0.5, 0.5], [0.2, 0.2, 0.6], [1, 0, 0]])
forms = pytest.mark.parametrize("labels", [IDS, TARGETS, SOFT], ids=["ids", "one-hot", "soft"])


def smoothed(labels, smoothing):
    """Targets in float64: weighted first, then a share of their sum is spread over the classes."""
    dense = labels if labels.ndim == 2 else reference.one_hot(labels, 3)
    targets = dense * WEIGHTS
    return (1 - smoothing) * targets + smoothing / 3 * targets.sum(-1, keepdims=True)


@forms
@pytest.mark.parametrize("smoothing", [0.1, 1.0])
@pytest.mark.usefixtures("both_ways")
def test_loss_and_gradient_are_the_float64_reference(labels, smoothing):
    loss = CLASSES["softmax"](class_weights=WEIGHTS, label_smoothing=smoothing, reduction=None)
    value, gradient = value_and_gradient(lambda z: loss(labels, z), LOGITS)
    targets = smoothed(labels, smoothing)
    np.testing.assert_allclose(value, reference.loss("softmax", LOGITS, targets), rtol=1e-5)
    right = reference.gradient("softmax", LOGITS, targets)
    np.testing.assert_allclose(gradient, right, rtol=1e-5, atol=1e-6)


@forms
@pytest.mark.usefixtures("both_ways")
def test_with_weights_of_one_it_is_what_keras_computes(labels):
    ours = CLASSES["softmax"](class_weights=[1, 1, 1], label_smoothing=0.1)
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    dense = labels if labels.ndim == 2 else TARGETS
    right = number(theirs(dense.astype("float32"), ops.convert_to_tensor(LOGITS, "float32")))
    np.testing.assert_allclose(number(ours(labels, LOGITS)), right, rtol=1e-5)


@pytest.mark.parametrize("kind", ["softmax", "softmax_focal"])
@pytest.mark.usefixtures("both_ways")
def test_the_loss_of_mixed_labels_is_the_mix_of_their_losses(kind):
    loss = CLASSES[kind](class_weights=WEIGHTS, reduction=None)
    others = IDS[::-1]
    mixed = 0.3 * TARGETS + 0.7 * reference.one_hot(others, 3)
    right = 0.3 * number(loss(IDS, LOGITS)) + 0.7 * number(loss(others, LOGITS))
    np.testing.assert_allclose(number(loss(mixed, LOGITS)), right, rtol=1e-5)


@forms
def test_the_gradient_by_the_weights_is_that_of_the_smoothed_losses(labels):
    def loss(weights):
        return LOSSES["softmax"](labels, LOGITS, weights, label_smoothing=0.2)

    _, gradient = value_and_gradient(loss, WEIGHTS)
    dense = labels if labels.ndim == 2 else TARGETS
    each = [number(LOSSES["softmax"](np.full(4, c), LOGITS, label_smoothing=0.2)) for c in range(3)]
    np.testing.assert_allclose(gradient, (dense * np.stack(each, -1)).sum(0), rtol=1e-5)


def test_void_pixels_and_masked_classes_keep_their_meaning():
    labels, logits = np.where(np.arange(4) == 1, 255, IDS), LOGITS.copy()
    logits[1] = np.nan
    value, gradient = value_and_gradient(
        lambda z: LOSSES["softmax"](labels, z, WEIGHTS, label_smoothing=0.1, ignore_class=255),
        logits,
    )
    right = np.where(labels == 255, 0, reference.loss("softmax", LOGITS, smoothed(IDS, 0.1)))
    np.testing.assert_allclose(value, right, rtol=1e-5)
    assert (gradient[1] == 0).all()


def test_a_round_trip_keeps_the_share():
    loss = CLASSES["softmax"](class_weights=WEIGHTS, label_smoothing=0.1)
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert copy.get_config() == loss.get_config()
    assert copy.label_smoothing == 0.1


@pytest.mark.parametrize("bad", [-0.1, 1.5, np.nan, "0.1", True])
def test_a_share_out_of_range_is_refused(bad):
    with pytest.raises(ValueError, match="`label_smoothing` must be"):
        CLASSES["softmax"](class_weights=WEIGHTS, label_smoothing=bad)
    with pytest.raises(ValueError, match="`label_smoothing` must be"):
        LOSSES["softmax"](IDS, LOGITS, label_smoothing=bad)
