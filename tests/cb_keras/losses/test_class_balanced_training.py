"""The losses in `model.fit`: eager, in a graph, compiled; weights that change during training."""

import keras
import numpy as np
import pytest
from keras import ops

import cb_keras
from tests.cb_keras import reference
from tests.cb_keras.cases import (
    BALANCED,
    CLASSES,
    COUNTS,
    IDS_OF_INPUTS,
    INPUTS,
    KERNEL,
    a_kind_a_mode,
    fit,
    holds,
    kinds,
    kinds_and_modes,
    kinds_both_ways,
    linear_model,
    number,
    refusal,
)
from tests.cb_keras.gradients import BACKEND, compiled

LOGITS = np.random.default_rng(3).normal(size=(6, 3))


@kinds_and_modes
def test_a_training_step_is_the_reference_step_in_every_mode(kind, mode):
    logits, targets = INPUTS.astype("float64") @ KERNEL, reference.one_hot(IDS_OF_INPUTS, 3)
    weight = BALANCED[IDS_OF_INPUTS].astype("float64")
    slope = reference.gradient(kind, logits, targets, weight)
    model = linear_model(CLASSES[kind](COUNTS), mode)
    expected = reference.loss(kind, logits, targets, weight).mean()
    np.testing.assert_allclose(fit(model), [expected], rtol=1e-5)
    step = 0.5 * INPUTS.T.astype("float64") @ slope / 6
    np.testing.assert_allclose(model.get_weights()[0], KERNEL - step, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "labels"),
    [("softmax", IDS_OF_INPUTS[:, None]), ("focal", reference.one_hot(IDS_OF_INPUTS, 3))],
)
@pytest.mark.usefixtures("both_ways")
def test_fit_takes_the_other_label_formats(kind, labels):
    loss = CLASSES[kind](COUNTS)
    expected = fit(linear_model(loss))
    np.testing.assert_allclose(fit(linear_model(loss), labels), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["softmax", "focal"])
@pytest.mark.usefixtures("both_ways")
def test_sample_weights_reach_the_loss(kind):
    weight = np.array([1, 0, 2, 0.5, 0, 1])
    logits, targets = INPUTS.astype("float64") @ KERNEL, reference.one_hot(IDS_OF_INPUTS, 3)
    expected = (reference.loss(kind, logits, targets, BALANCED[IDS_OF_INPUTS]) * weight).mean()
    loss = fit(linear_model(CLASSES[kind](COUNTS)), sample_weight=weight)
    np.testing.assert_allclose(loss, [expected], rtol=1e-5)


@kinds_and_modes
def test_weights_assigned_in_a_callback_change_the_next_step(kind, mode):
    loss = CLASSES[kind](COUNTS)
    model = linear_model(loss, mode, learning_rate=0.0)

    def schedule(epoch):
        return BALANCED if epoch < 2 else 3 * BALANCED

    def assign(epoch, logs):
        loss.class_weights.assign(schedule(epoch))

    if BACKEND == "jax":  # its trainer compiles the values into the step
        callback = cb_keras.callbacks.ClassWeightScheduler(loss, schedule)
    else:
        callback = keras.callbacks.LambdaCallback(on_epoch_begin=assign)
    history = fit(model, epochs=4, callbacks=[callback])
    np.testing.assert_allclose(history, history[0] * np.array([1, 1, 3, 3]), rtol=1e-5)


@pytest.mark.parametrize("kind", ["softmax", "focal"])
@pytest.mark.usefixtures("both_ways")
def test_weights_assigned_between_steps_of_a_tf_function_are_not_frozen(kind):
    if BACKEND != "tensorflow":
        pytest.skip("tf.function")
    import tensorflow as tf

    loss = CLASSES[kind](COUNTS)
    logits = INPUTS @ KERNEL
    for jit_compile in (False, True):
        step = tf.function(lambda y, z: loss(y, z), jit_compile=jit_compile)
        loss.class_weights.assign(BALANCED)
        before = number(step(IDS_OF_INPUTS, logits))
        loss.class_weights.assign(3 * BALANCED)
        np.testing.assert_allclose(number(step(IDS_OF_INPUTS, logits)), 3 * before, rtol=1e-6)


@a_kind_a_mode
def test_fit_refuses_labels_that_do_not_fit(kind, mode):
    with pytest.raises(ValueError, match=r"`y_true` has shape .*2\), .*`y_pred` of shape .*3\)"):
        fit(linear_model(CLASSES[kind](COUNTS), mode), np.zeros((6, 2)))


@a_kind_a_mode
def test_fit_refuses_another_number_of_classes(kind, mode):
    with pytest.raises(ValueError, match=r"`y_pred` has 3 classes .* but there are 4 class"):
        fit(linear_model(CLASSES[kind]([5, 4, 3, 2]), mode))


@kinds_and_modes
def test_a_label_that_is_not_a_class_stops_fit_in_words_or_under_xla_makes_its_loss_nan(kind, mode):
    model = linear_model(CLASSES[kind](COUNTS), mode)
    labels = np.array([0, 2, 1, 0, 2, -1])
    if mode == "compiled":
        assert np.isnan(fit(model, labels)[0])
        return
    refused = refusal(mode)
    with pytest.raises(refused, match=holds(-1, 5)):
        fit(model, labels)
    if keras.backend.backend() != "jax":  # whose fit holds the weights while it runs
        np.testing.assert_array_equal(model.get_weights()[0], KERNEL)


@pytest.mark.parametrize(
    ("kind", "policy"),
    [("softmax", "mixed_bfloat16"), ("sigmoid", "mixed_float16"), ("focal", "mixed_bfloat16")],
)
@pytest.mark.usefixtures("both_ways")
def test_a_mixed_precision_step_raises_the_logit_of_class_8141_only(kind, policy):
    keras.config.set_dtype_policy(policy)  # either type rounds 8141 to another class
    dense = keras.layers.Dense(8142, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((1,)), dense])
    model.compile(keras.optimizers.SGD(1.0), CLASSES[kind](class_weights=np.ones(8142)))
    model.fit(np.ones((1, 1)), np.array([8141]), verbose=0)
    rise = number(dense.bias)
    assert rise[8141] > 0
    assert (rise[:8141] < 0).all()


@kinds
def test_training_with_the_loss_fits_a_rare_class_better(kind, rng):
    """Two overlapping Gaussians, 1000 and 20 points: the weights pay for recall of the rare one."""
    labels = np.repeat([0, 1], [1000, 20])
    inputs = rng.normal(size=(1020, 2)) + 1.5 * labels[:, None]
    recall = {}
    for power in (0, 1):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        loss = CLASSES[kind](np.bincount(labels), power=power)
        model.compile(keras.optimizers.SGD(2.0), loss)
        all_steps = np.tile(inputs, (15, 1)), np.tile(labels, 15)
        model.fit(*all_steps, batch_size=1020, shuffle=False, verbose=0)
        predictions = model.predict_on_batch(inputs[labels == 1]).argmax(-1)
        recall[power] = predictions.mean()
    assert recall[1] > recall[0] + 0.1


@kinds_both_ways
def test_a_loss_can_be_made_while_a_function_is_traced(kind):
    """Also a second time, by another trace, and where nobody keeps it."""
    right = reference.loss(
        kind, LOGITS, reference.one_hot(IDS_OF_INPUTS, 3), BALANCED[IDS_OF_INPUTS]
    ).mean()

    def value(z):
        return CLASSES[kind](COUNTS)(IDS_OF_INPUTS, z)

    traced = [compiled(value)]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        traced.append(tf.function(value))
    for function in traced:
        for number_of_rows in (6, 2):
            z = ops.convert_to_tensor(LOGITS[:number_of_rows], dtype="float32")
            if number_of_rows == 6:
                np.testing.assert_allclose(number(function(z)), right, rtol=1e-5)
            else:
                with pytest.raises(Exception, match="y_true"):  # traced again, for another shape
                    function(z)
        z = ops.convert_to_tensor(LOGITS, dtype="float32")
        np.testing.assert_allclose(number(function(z)), right, rtol=1e-5)
