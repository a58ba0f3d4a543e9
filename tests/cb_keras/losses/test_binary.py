"""Class-balanced binary cross-entropy: one output, and several labels."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import expit, log_expit
from sklearn import datasets, linear_model

import cb_keras
from cb_keras import callbacks, functional, losses
from tests.cb_keras.cases import number
from tests.cb_keras.gradients import BACKEND, evaluate, value_and_gradient

LOGITS = np.array([[2.0, -100.0, 0.5], [0.0, 100.0, -2.0], [-100.0, 1.0, 100.0], [-0.5, 0.5, -1.0]])
LABELS = np.array([[1.0, 0, 0], [0, 0, 1], [1, 1, 1], [0.25, 0, 1]])
COUNTS = np.array([[90, 10], [50, 50], [3, 997]])
WEIGHTS = np.array([[0.5, 1.5], [1.0, 1.0], [0.2, 1.8]])
ONE = np.array([0, 1, 1, 0])


def reference(labels, logits, weights, gamma):
    """Loss and gradient of each element in float64."""
    p, q = expit(logits), expit(-logits)
    positive = q**gamma * -log_expit(logits)
    negative = p**gamma * -log_expit(-logits)
    rise = q**gamma * (gamma * p * log_expit(logits) - q)
    fall = p**gamma * (gamma * q * log_expit(-logits) - p)
    w1, w0 = labels * weights[..., 1], (1 - labels) * weights[..., 0]
    return w1 * positive + w0 * negative, w1 * rise - w0 * fall


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_loss_and_gradient_are_those_of_float64_numpy_also_at_logits_of_100(gamma, dtype):
    def loss(z):
        return functional.class_balanced_binary_crossentropy(LABELS, z, WEIGHTS, gamma)

    value, gradient = value_and_gradient(loss, LOGITS, dtype)
    right, slope = reference(LABELS, LOGITS, WEIGHTS, gamma)
    rtol = 1e-5 if dtype == "float32" else 1e-6  # the weights are float32
    np.testing.assert_allclose(value, right.sum(-1), rtol=rtol)
    np.testing.assert_allclose(gradient, slope, rtol=rtol, atol=1e-30)


def test_weights_of_positives_are_those_of_tensorflow():
    tf = pytest.importorskip("tensorflow")
    theirs = tf.nn.weighted_cross_entropy_with_logits(LABELS, LOGITS, WEIGHTS[:, 1] / WEIGHTS[:, 0])
    right = (WEIGHTS[:, 0] * theirs.numpy()).sum(-1)
    ours = evaluate(
        lambda z: functional.class_balanced_binary_crossentropy(LABELS, z, WEIGHTS), LOGITS
    )
    np.testing.assert_allclose(ours, right, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_without_weights_it_is_the_focal_loss_of_keras_times_the_number_of_labels(gamma, rng):
    logits, labels = rng.normal(0, 2, (5, 3)), rng.integers(0, 2, (5, 3)).astype("float64")
    peer = keras.losses.BinaryFocalCrossentropy(
        gamma=gamma, from_logits=True, reduction=None, dtype="float64"
    )
    ours = losses.ClassBalancedBinaryCrossentropy(
        class_weights=np.ones((3, 2)), gamma=gamma, reduction=None, dtype="float64"
    )
    theirs = evaluate(lambda z: peer(labels, z), logits, "float64")
    np.testing.assert_allclose(
        evaluate(lambda z: ours(labels, z), logits, "float64"), 3 * theirs, rtol=1e-5
    )


def test_each_label_has_the_class_balanced_weights_of_its_own_two_counts():
    loss = losses.ClassBalancedBinaryCrossentropy(COUNTS, beta=0.999, power=0.5)
    right = [cb_keras.class_balanced_weights(pair, 0.999, 0.5) for pair in COUNTS]
    np.testing.assert_allclose(number(loss.class_weights), right, rtol=1e-6)
    np.testing.assert_allclose(number(loss.class_weights).sum(-1), 2, rtol=1e-6)
    one = losses.ClassBalancedBinaryCrossentropy({1: 10, 0: 90}, beta=0.999, power=0.5)
    np.testing.assert_allclose(number(one.class_weights), right[0], rtol=1e-6)


def test_scikit_learn_s_weighted_logistic_regression_is_where_the_loss_has_its_minimum():
    table = datasets.load_breast_cancer()
    x = table.data[:, :3] / table.data[:, :3].max(0) - 0.5
    y = table.target
    loss = losses.ClassBalancedBinaryCrossentropy(np.bincount(y), dtype="float64")
    w0, w1 = number(loss.class_weights).astype("float64")
    peer = linear_model.LogisticRegression(C=np.inf, class_weight={0: w0, 1: w1}, tol=1e-8)
    peer.fit(x, y)
    best = np.concatenate([peer.coef_[0], peer.intercept_])
    inputs = np.column_stack([x, np.ones(len(x))])

    def of_kernel(kernel):
        return loss(y, ops.matmul(ops.cast(inputs, kernel.dtype), kernel))

    _, slope = value_and_gradient(of_kernel, best, "float64")
    _, elsewhere = value_and_gradient(of_kernel, 0.9 * best, "float64")
    assert np.abs(slope).max() < 1e-5 < 1e-3 < np.abs(elsewhere).max()


@pytest.mark.parametrize("labels", [ONE, ONE[:, None], ONE == 1, ONE.astype("uint8")[:, None]])
@pytest.mark.parametrize("logits", [LOGITS[:, 0], LOGITS[:, :1]])
def test_one_output_takes_labels_and_logits_with_and_without_an_axis_of_their_own(labels, logits):
    loss = losses.ClassBalancedBinaryCrossentropy([9, 1], beta=1.0, reduction=None)
    value = number(loss(labels, logits.astype("float32")))
    right, _ = reference(ONE, LOGITS[:, 0], np.array([0.2, 1.8]), 0.0)
    np.testing.assert_allclose(value, right, rtol=1e-5)


@pytest.mark.parametrize(
    ("counts", "labels", "logits", "message"),
    [
        ([9, 1], (4,), (4, 3), r"3 outputs .*for one.*\[L, 2\]"),
        (COUNTS, (4, 3), (4, 2), r"2 outputs .*for 3 labels"),
        (COUNTS, (4,), (4, 3), r"`y_true` has shape \(4,\).*Class ids"),
        (COUNTS, (4, 2), (4, 3), r"`y_true` has shape \(4, 2\).*expected 0/1 labels \(4, 3\)"),
        ([9, 1], (5,), (4, 1), r"`y_true` has shape \(5,\).*\(4,\) or \(4, 1\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(counts, labels, logits, message):
    loss = losses.ClassBalancedBinaryCrossentropy(counts)
    with pytest.raises(ValueError, match=message):
        loss(np.zeros(labels), np.zeros(logits, "float32"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_counts": [3, 2, 1]}, r"\[n_negative, n_positive\].*got int64 \(3,\)"),
        ({"class_counts": [[5, 5], [9, 0]]}, "label 1 has 0 positive examples"),
        ({"class_counts": [0, 5]}, "the output has 0 negative examples"),
        ({"class_weights": [[1, 1], [-1, 1]]}, "label 1 has -1.0 for negative examples"),
        ({"class_weights": [1, 1], "power": 2.0}, "`power`=2.0 have no effect"),
        ({}, "got neither"),
        ({"class_counts": [5, 5], "gamma": -1}, "`gamma` must be"),
        ({"class_counts": [5, 5], "label_smoothing": 1.5}, "`label_smoothing` must be"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        losses.ClassBalancedBinaryCrossentropy(**arguments)


@pytest.mark.parametrize(
    ("reduction", "divisor"),
    [("sum", 1), ("sum_over_batch_size", 4), ("mean_with_sample_weight", 4.0), (None, None)],
)
def test_an_example_of_sample_weight_zero_has_no_loss_and_no_gradient(reduction, divisor):
    labels, logits = LABELS.copy(), LOGITS.copy()
    labels[1], logits[1] = 255, np.nan
    weight = np.array([1.0, 0.0, 2.0, 1.0])
    loss = losses.ClassBalancedBinaryCrossentropy(class_weights=WEIGHTS, reduction=reduction)
    value, gradient = value_and_gradient(lambda z: loss(labels, z, weight), logits)
    right, slope = reference(LABELS, LOGITS, WEIGHTS, 0.0)
    right, slope = right.sum(-1) * weight, slope * weight[:, None]
    if reduction:
        right, slope = right.sum() / divisor, slope / divisor
    np.testing.assert_allclose(value, right, rtol=1e-5)
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-30)


def test_a_masked_example_is_out_of_the_mean():
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, keras.layers.Masking(9.0)(inputs))
    logits = np.where(np.arange(4)[:, None] == 1, 9.0, LOGITS)[None].astype("float32")
    labels = np.where(np.arange(4)[:, None] == 1, 255, LABELS)[None]
    value = losses.ClassBalancedBinaryCrossentropy(class_weights=WEIGHTS)(labels, model(logits))
    right = reference(LABELS, LOGITS, WEIGHTS, 0.0)[0].sum(-1)[[0, 2, 3]].mean()
    np.testing.assert_allclose(number(value), right, rtol=1e-5)


def test_smoothing_mixes_the_labels_under_the_weight_of_what_they_are():
    logits = np.clip(LOGITS, -10, 10)
    loss = losses.ClassBalancedBinaryCrossentropy(
        class_weights=WEIGHTS, label_smoothing=0.2, reduction=None
    )
    hard = np.round(LABELS)
    plain, _ = reference(0.8 * hard + 0.1, logits, np.ones((3, 2)), 0.0)
    weight = np.where(hard == 1, WEIGHTS[:, 1], WEIGHTS[:, 0])
    value = evaluate(lambda z: loss(hard, z), logits)
    np.testing.assert_allclose(value, (weight * plain).sum(-1), rtol=1e-5)


def test_probabilities_give_the_loss_of_their_logits():
    logits = np.clip(LOGITS, -5, 5)
    kwargs = {"class_weights": WEIGHTS, "gamma": 2.0, "reduction": None}
    loss = losses.ClassBalancedBinaryCrossentropy(from_logits=False, **kwargs)
    right, _ = reference(LABELS, logits, WEIGHTS, 2.0)
    value = evaluate(lambda p: loss(LABELS, p), expit(logits))
    np.testing.assert_allclose(value, right.sum(-1), rtol=1e-4)


def test_a_logit_of_minus_infinity_costs_a_negative_label_nothing():
    logits = np.array([[0.0, -np.inf, 1.0]])
    labels = np.array([[1.0, 0.0, 1.0]])
    value, gradient = value_and_gradient(
        lambda z: functional.class_balanced_binary_crossentropy(labels, z, WEIGHTS), logits
    )
    right, slope = reference(labels[:, [0, 2]], logits[:, [0, 2]], WEIGHTS[[0, 2]], 0.0)
    np.testing.assert_allclose(value, right.sum(-1), rtol=1e-5)
    np.testing.assert_allclose(gradient[:, [0, 2]], slope, rtol=1e-5)
    assert gradient[0, 1] == 0


def test_the_configuration_and_a_saved_model_give_the_same_loss(tmp_path):
    loss = losses.ClassBalancedBinaryCrossentropy(
        COUNTS, 1.5, beta=0.99, power=0.5, label_smoothing=0.1, reduction="sum", name="ours"
    )
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config()
    logits = np.clip(LOGITS, -5, 5).astype("float32")
    np.testing.assert_array_equal(number(again(LABELS, logits)), number(loss(LABELS, logits)))
    loss.class_weights.assign(WEIGHTS)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.compile("sgd", loss)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").loss
    np.testing.assert_allclose(number(loaded.class_weights), WEIGHTS, rtol=1e-6)


@pytest.mark.parametrize("counts", [[90, 10], COUNTS], ids=["one output", "labels"])
def test_a_schedule_sets_the_weights_of_each_label(counts):
    shape = np.shape(counts)
    outputs = 1 if len(shape) == 1 else 3
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(outputs)])
    loss = losses.ClassBalancedBinaryCrossentropy(counts)
    model.compile(keras.optimizers.SGD(0.0), loss)
    scheduler = callbacks.ClassWeightScheduler(None, lambda epoch: np.full(shape, epoch + 1.0))
    labels = LABELS.round()[:, :outputs]
    fitted = model.fit(LOGITS / 100, labels, epochs=2, verbose=0, callbacks=[scheduler])
    np.testing.assert_allclose(*np.array(fitted.history["loss"]) * [2, 1], rtol=1e-5)
    bad = callbacks.ClassWeightScheduler(None, lambda epoch: np.full(shape, -1.0))
    with pytest.raises(ValueError, match=r"`schedule\(epoch\)` must be .* has -1.0.* in epoch 0"):
        model.fit(LOGITS / 100, labels, verbose=0, callbacks=[bad])
    other = callbacks.ClassWeightScheduler(None, lambda epoch: np.ones(5))
    with pytest.raises(ValueError, match=r"shape \(5,\) for epoch 0"):
        model.fit(LOGITS / 100, labels, verbose=0, callbacks=[other])


def test_the_op_that_does_not_have_the_loss_is_refused_where_it_is_asked_for():
    from cb_keras.fused import FusedOpError

    loss = losses.ClassBalancedBinaryCrossentropy([9, 1], fused=True)
    with pytest.raises(FusedOpError, match="it does not have this loss"):
        loss(ONE, LOGITS[:, 0].astype("float32"))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow has unknown sizes")
def test_labels_of_unknown_sizes_are_compared_when_the_graph_runs():
    import tensorflow as tf

    loss = losses.ClassBalancedBinaryCrossentropy([9, 1], beta=1.0)
    unknown = tf.TensorSpec((None,)), tf.TensorSpec((None, 1))
    step = tf.function(lambda y, z: loss(y, z), input_signature=unknown)
    np.testing.assert_allclose(step(tf.ones(2), tf.zeros((2, 1))), 1.8 * np.log(2), rtol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="does not have the shape"):
        step(tf.ones(1), tf.zeros((2, 1)))
