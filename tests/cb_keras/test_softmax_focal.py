"""The softmax focal loss: values, slopes where others have none, weights, labels, masks."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.cb_keras import reference
from tests.cb_keras.cases import CLASSES, COUNTS, IDS, LOGITS, LOSSES, TARGETS, WEIGHTS, number
from tests.cb_keras.gradients import BACKEND, compiled, value_and_gradient

softmax_focal = LOSSES["softmax_focal"]
forms = pytest.mark.parametrize("form", ["ids", "one-hot"])


def labels_of(form, ids, classes=3):
    return np.asarray(ids) if form == "ids" else reference.one_hot(ids, classes)


def test_an_example_by_hand():
    # p = 1/3, so (2/3)^2 log 3; by z_0: -(2/3)^3 - 2 (2/3)^2 (1/3) log 3.
    logits = np.array([[0, np.log(2)]])
    value, gradient = value_and_gradient(lambda z: softmax_focal([0], z, [3.0, 5.0]), logits)
    np.testing.assert_allclose(value, 3 * (4 / 9) * np.log(3), rtol=1e-6)
    slope = 3 * ((2 / 3) ** 3 + 2 * (4 / 9) / 3 * np.log(3))
    np.testing.assert_allclose(gradient, [[-slope, slope]], rtol=1e-6)


@forms
def test_the_slope_is_right_where_keras_has_none(form):
    logits = np.array([[-30.0, 0, 0]])
    labels = labels_of(form, [0])
    _, gradient = value_and_gradient(lambda z: softmax_focal(labels, z), logits)
    np.testing.assert_allclose(gradient, [[-1, 0.5, 0.5]], rtol=1e-5)
    theirs = keras.losses.CategoricalFocalCrossentropy(alpha=1.0, from_logits=True)
    _, gradient = value_and_gradient(lambda z: theirs(labels_of("one-hot", [0]), z), logits)
    assert abs(gradient[0, 0]) < 0.01


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0, 5.0])
@forms
def test_it_is_finite_and_right_up_to_logits_of_ten_thousand(form, gamma):
    sizes = np.array([0, 1e-3, 1, 10, 50, 100, 1e4])
    z = np.concatenate([-sizes[:0:-1], sizes])
    logits = np.stack([*np.meshgrid(z, z), np.zeros((13, 13))], axis=-1).reshape(-1, 3)
    labels = labels_of(form, np.zeros(169, "int32"))
    function = lambda z: softmax_focal(labels, z, WEIGHTS, gamma=gamma)  # noqa: E731
    value, gradient = value_and_gradient(compiled(function) if gamma == 0.3 else function, logits)
    targets = reference.one_hot(np.zeros(169), 3)
    right = reference.loss("softmax_focal", logits, targets, WEIGHTS[0], gamma)
    np.testing.assert_allclose(value, right, rtol=2e-5, atol=1e-7)
    weights = np.full(169, WEIGHTS[0])
    slope = reference.gradient("softmax_focal", logits, targets, weights, gamma)
    np.testing.assert_allclose(gradient, slope, rtol=2e-5, atol=1e-6)


def test_gamma_zero_is_the_softmax_loss_and_keras_agrees_where_it_has_a_slope():
    for labels in (IDS, TARGETS):
        plain = number(LOSSES["softmax"](labels, LOGITS, WEIGHTS))
        ours = number(softmax_focal(labels, LOGITS, WEIGHTS, gamma=0.0))
        np.testing.assert_allclose(ours, plain, rtol=1e-5)
    theirs = keras.losses.CategoricalFocalCrossentropy(alpha=1.0, from_logits=True)
    ours = CLASSES["softmax_focal"](class_weights=[1, 1, 1])
    logits = ops.convert_to_tensor(LOGITS, "float32")
    right = number(theirs(TARGETS.astype("float32"), logits))
    np.testing.assert_allclose(number(ours(IDS, logits)), right, rtol=1e-5)


def test_soft_labels_mix_the_weighted_losses():
    soft = np.array([[0.7, 0.3, 0], [0, 0.5, 0.5], [0.2, 0.2, 0.6], [0, 0, 0]])
    value, gradient = value_and_gradient(lambda z: softmax_focal(soft, z, WEIGHTS), LOGITS)
    right = reference.loss("softmax_focal", LOGITS, soft * WEIGHTS)
    np.testing.assert_allclose(value, right, rtol=1e-5)
    right = reference.gradient("softmax_focal", LOGITS, soft * WEIGHTS)
    np.testing.assert_allclose(gradient, right, rtol=1e-5, atol=1e-7)


@forms
def test_masked_classes_and_examples_of_weight_zero_do_no_harm(form):
    logits = np.where(np.arange(4)[:, None] == 1, [np.inf, -np.inf, np.nan], LOGITS)
    logits[0] = [2.0, -1.0, -np.inf]
    labels, weights = labels_of(form, IDS), np.array([0.2, 0.0, 2.1])
    value, gradient = value_and_gradient(lambda z: softmax_focal(labels, z, weights), logits)
    assert value[1] == 0
    assert (gradient[1] == 0).all()
    right = reference.loss("softmax_focal", LOGITS[2:], TARGETS[2:], weights[IDS[2:]])
    np.testing.assert_allclose(value[2:], right, rtol=1e-5)
    two = reference.gradient("softmax_focal", logits[:1, :2], [[1, 0]], [0.2])
    np.testing.assert_allclose(gradient[0], [*two[0], 0], rtol=1e-5)


@forms
def test_the_gradients_by_weights_are_the_unweighted_losses(form):
    labels = labels_of(form, IDS)
    _, gradient = value_and_gradient(lambda w: softmax_focal(labels, LOGITS, w), WEIGHTS)
    unweighted = reference.loss("softmax_focal", LOGITS, TARGETS)
    right = [unweighted[c == IDS].sum() for c in range(3)]
    np.testing.assert_allclose(gradient, right, rtol=1e-5)


@pytest.mark.usefixtures("both_ways")
def test_the_class_leaves_void_pixels_out_and_keeps_leading_dimensions():
    loss = CLASSES["softmax_focal"](class_weights=WEIGHTS, gamma=1.5, ignore_class=255)
    logits = np.where(np.arange(4)[:, None] == 1, np.nan, LOGITS).reshape(2, 2, 3)
    labels = np.where(np.arange(4) == 1, 255, IDS).astype("uint8").reshape(2, 2)
    value, gradient = value_and_gradient(lambda z: loss(labels, z), logits)
    kept = [0, 2, 3]
    right = reference.loss("softmax_focal", LOGITS, TARGETS, WEIGHTS[IDS], 1.5)[kept].mean()
    np.testing.assert_allclose(value, right, rtol=1e-5)
    slope = reference.gradient("softmax_focal", LOGITS, TARGETS, WEIGHTS[IDS], 1.5)[kept] / 3
    np.testing.assert_allclose(gradient.reshape(4, 3)[kept], slope, rtol=1e-5, atol=1e-7)
    assert (gradient[0, 1] == 0).all()


def test_a_round_trip_keeps_gamma_and_probabilities_are_taken():
    loss = CLASSES["softmax_focal"](COUNTS, 0.5, power=0.5, from_logits=False, ignore_class=-1)
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert copy.get_config() == loss.get_config()
    p = number(ops.softmax(LOGITS))
    right = CLASSES["softmax_focal"](COUNTS, 0.5, power=0.5)(IDS, LOGITS)
    np.testing.assert_allclose(number(copy(IDS, p)), number(right), rtol=1e-5)


def test_float64_is_float64():
    value, gradient = value_and_gradient(
        lambda z: softmax_focal(IDS, z, WEIGHTS, gamma=0.5), LOGITS, "float64"
    )
    right = reference.gradient("softmax_focal", LOGITS, TARGETS, WEIGHTS[IDS], 0.5)
    np.testing.assert_allclose(gradient, right, rtol=1e-10)
    assert value.dtype == np.float64


def test_an_invalid_label_and_one_output_are_refused():
    with pytest.raises(ValueError, match="holds 3 at position"):
        softmax_focal(np.array([0, 3, -1, 2]), LOGITS)
    with pytest.raises(ValueError, match="one output"):
        softmax_focal(np.zeros((4, 1)), LOGITS[:, :1])


def test_sizes_may_be_unknown_until_a_step_runs():
    if BACKEND != "tensorflow":
        pytest.skip("only TensorFlow has unknown sizes")
    import tensorflow as tf

    spec = [tf.TensorSpec([None, None], "int64"), tf.TensorSpec([None, None, 3], "float32")]
    traced = tf.function(softmax_focal, input_signature=spec)
    value = traced(tf.constant(IDS.reshape(2, 2)), tf.constant(LOGITS.reshape(2, 2, 3), "float32"))
    right = reference.loss("softmax_focal", LOGITS, TARGETS).reshape(2, 2)
    np.testing.assert_allclose(value, right, rtol=1e-5)


@forms
def test_no_examples_have_no_losses_and_no_slopes(form):
    labels = labels_of(form, np.zeros(0, "int32"))
    value, slope = value_and_gradient(
        lambda z: softmax_focal(labels, z, WEIGHTS), np.zeros((0, 3), "float32")
    )
    assert (value.shape, slope.shape) == ((0,), (0, 3))
