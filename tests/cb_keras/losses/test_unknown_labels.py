"""Labels that are not known, of losses that are a yes or no of each label: `ignore_class`."""

import keras
import numpy as np
import pytest
from keras import ops

import cb_keras
from cb_keras import functional, losses
from tests.cb_keras.gradients import value_and_gradient

LABELS = np.array([[1.0, -1, 0], [-1, -1, -1], [0, 1, -1], [0.25, 0, 1]])
KNOWN = LABELS != -1
LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0], [-4.0, 1.0, 1.5], [0.25, 0.5, -1.0]])
WEIGHTS = np.array([[0.5, 1.5], [1.0, 1.0], [0.2, 1.8]])
# Name -> a function of labels, logits and weights by class, elementwise where there is one label.
FUNCTIONS = {
    "binary": lambda y, z, w, **own: functional.class_balanced_binary_crossentropy(y, z, w, **own),
    "focal, smoothed": lambda y, z, w, **own: functional.class_balanced_binary_crossentropy(
        y, z, w, 2.0, label_smoothing=0.2, **own
    ),
    "asymmetric": lambda y, z, w, **own: functional.asymmetric_crossentropy(y, z, **own),
}
every_function = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
LOSSES = [losses.ClassBalancedBinaryCrossentropy([[90, 10]] * 3), losses.AsymmetricCrossentropy()]


@every_function
@pytest.mark.parametrize("wild", [None, np.nan, np.inf, -1e38])
def test_the_loss_is_the_sum_over_the_labels_that_are_known(function, wild):
    """Label by label, each of which alone is an example of one output."""
    right, slope = np.zeros(LOGITS.shape), np.zeros(LOGITS.shape)
    for i, j in np.argwhere(KNOWN):

        def one(z, i=i, j=j):
            return function(LABELS[i : i + 1, j : j + 1], z, WEIGHTS[j])

        value, gradient = value_and_gradient(one, LOGITS[i : i + 1, j : j + 1], "float64")
        right[i, j], slope[i, j] = value[0], gradient[0, 0]
    logits = LOGITS if wild is None else np.where(KNOWN, LOGITS, wild)
    value, gradient = value_and_gradient(
        lambda z: function(LABELS, z, WEIGHTS, ignore_class=-1), logits, "float64"
    )
    np.testing.assert_allclose(value, right.sum(-1), rtol=1e-6)
    np.testing.assert_allclose(gradient, slope, rtol=1e-6)
    assert not gradient[~KNOWN].any()


@pytest.mark.parametrize("from_logits", [True, False])
def test_probabilities_and_labels_of_one_output(from_logits):
    loss = losses.ClassBalancedBinaryCrossentropy(
        [90, 10], from_logits=from_logits, ignore_class=2, reduction="none"
    )
    known = losses.ClassBalancedBinaryCrossentropy(
        [90, 10], from_logits=from_logits, reduction="none"
    )
    outputs = ops.convert_to_tensor([[0.3], [0.6], [0.9]])
    found = ops.convert_to_numpy(loss(ops.convert_to_tensor([0, 2, 1]), outputs))
    right = ops.convert_to_numpy(known(ops.convert_to_tensor([0, 0, 1]), outputs))
    np.testing.assert_allclose(found, right * [1, 0, 1], rtol=1e-6)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("weight", [None, [1.0, 3.0, 0.5, 0.25], [1.0, 0.0, 0.5, 0.25]])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_the_mean_is_over_the_examples_with_a_label_that_is_known(loss, weight, reduction):
    changes = {"ignore_class": -1, "reduction": "none"}
    each = type(loss).from_config({**loss.get_config(), **changes})
    tensors = ops.convert_to_tensor(LABELS), ops.convert_to_tensor(LOGITS)
    losses_of = ops.convert_to_numpy(each(*tensors)).astype("float64")
    weights = np.ones(4) if weight is None else np.asarray(weight)
    known = KNOWN.any(axis=1)
    right = (weights * losses_of).sum()
    if reduction == "sum_over_batch_size":
        right /= known.sum()
    elif reduction == "mean_with_sample_weight":
        right /= weights[known].sum()
    mean = type(loss).from_config({**each.get_config(), "reduction": reduction})
    given = None if weight is None else ops.convert_to_tensor(weights, "float32")
    assert float(mean(*tensors, given)) == pytest.approx(right, rel=1e-5)


def test_void_pixels_of_one_output_leave_the_mean_as_those_of_two():
    rng = np.random.default_rng(0)
    masks = np.where(rng.random((2, 5, 5)) < 0.5, 255, rng.integers(0, 2, (2, 5, 5)))
    z = rng.normal(size=(2, 5, 5, 1)).astype("float32")
    one = losses.ClassBalancedBinaryCrossentropy(class_weights=[0.5, 1.5], ignore_class=255)
    two = losses.ClassBalancedSoftmaxCrossentropy(class_weights=[0.5, 1.5], ignore_class=255)
    both = ops.convert_to_tensor(np.concatenate([np.zeros_like(z), z], axis=-1))
    right = float(two(masks, both))
    assert float(one(masks, ops.convert_to_tensor(z))) == pytest.approx(right, rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_without_it_they_are_refused_and_with_it_other_bad_labels_are(loss):
    with pytest.raises(ValueError, match=r"holds -1 at position \[0, 1\].*take `ignore_class`"):
        loss(ops.convert_to_tensor(LABELS), ops.convert_to_tensor(LOGITS))
    tolerant = type(loss).from_config({**loss.get_config(), "ignore_class": -1})
    assert tolerant.get_config()["ignore_class"] == -1
    with pytest.raises(ValueError, match=r"holds -2 at position \[0, 1\]"):
        tolerant(ops.convert_to_tensor(np.where(KNOWN, LABELS, -2)), ops.convert_to_tensor(LOGITS))
    for wrong in (0, 1, 0.5, "none"):
        with pytest.raises(ValueError, match="`ignore_class` must"):
            type(loss).from_config({**loss.get_config(), "ignore_class": wrong})


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_counted_and_trained_with_what_is_known_alone(loss, tmp_path):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(3, kernel_initializer="zeros")(inputs))
    loss = type(loss).from_config({**loss.get_config(), "ignore_class": -1})
    model.compile(keras.optimizers.SGD(0.1), loss)
    x = np.random.default_rng(0).normal(size=(4, 2)).astype("float32")
    model.fit(x, LABELS, epochs=1, verbose=0, batch_size=4, sample_weight=np.array([1.0, 1, 0, 1]))
    before = model.get_weights()[0]
    assert np.isfinite(before).all()
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    assert again.loss.ignore_class == -1
    # The second label of the third example alone: no other weight moves.
    model.fit(x[2:3], np.array([[-1.0, 1, -1]]), epochs=1, verbose=0)
    moved = (model.get_weights()[0] != before).any(axis=0)
    assert moved.tolist() == [False, True, False]
    assert cb_keras.binary_counts(LABELS.round(), ignore_class=-1).tolist()[1] == [1, 1]
