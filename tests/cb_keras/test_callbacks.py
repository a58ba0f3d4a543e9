"""Class weights by epoch against float64 numpy."""

import copy
import functools
import re

import keras
import numpy as np
import pytest

from cb_keras.callbacks import ClassWeightScheduler
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
    linear_model,
    modes,
)

EQUAL = np.ones(3)


def deferred(epoch):
    """Equal weights in epochs 0 and 1, class-balanced ones from epoch 2 on."""
    return EQUAL if epoch < 2 else BALANCED


def expected_training(kind, weights_of_epochs, rate=0.5):
    """Losses and last kernel of one full-batch step of gradient descent an epoch, float64."""
    kernel, targets, losses = KERNEL.astype("float64"), reference.one_hot(IDS_OF_INPUTS, 3), []
    for weights in weights_of_epochs:
        logits = INPUTS @ kernel
        losses.append(reference.loss(kind, logits, targets, weights[IDS_OF_INPUTS]).mean())
        slope = reference.gradient(kind, logits, targets, weights[IDS_OF_INPUTS])
        kernel = kernel - rate * INPUTS.T @ slope / len(IDS_OF_INPUTS)
    return losses, kernel


@a_kind_a_mode
def test_loss_and_step_change_in_the_epoch_that_the_schedule_names_not_one_later(kind, mode):
    loss = CLASSES[kind](COUNTS)
    model = linear_model(loss, mode)
    history = fit(model, epochs=4, callbacks=[ClassWeightScheduler(loss, deferred)])
    losses, kernel = expected_training(kind, [EQUAL, EQUAL, BALANCED, BALANCED])
    np.testing.assert_allclose(history, losses, rtol=1e-5)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4, atol=1e-6)


@modes
def test_every_step_of_the_epoch_and_its_validation_have_the_new_weights(mode):
    loss = CLASSES["softmax"](COUNTS)
    model = linear_model(loss, mode, learning_rate=0.0)
    history = model.fit(
        INPUTS,
        IDS_OF_INPUTS,
        batch_size=2,
        epochs=4,
        shuffle=False,
        verbose=0,
        validation_data=(INPUTS, IDS_OF_INPUTS),
        callbacks=[ClassWeightScheduler(loss, deferred)],
    ).history
    losses, _ = expected_training("softmax", [EQUAL, EQUAL, BALANCED, BALANCED], rate=0)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-5)
    np.testing.assert_allclose(history["val_loss"], losses, rtol=1e-5)


def test_a_run_that_resumes_after_the_boundary_starts_with_the_later_weights():
    loss = CLASSES["softmax"](class_weights=EQUAL)
    model = linear_model(loss)
    callbacks = [ClassWeightScheduler(loss, deferred)]
    history = fit(model, epochs=4, initial_epoch=3, callbacks=callbacks)
    np.testing.assert_allclose(history, expected_training("softmax", [BALANCED])[0], rtol=1e-5)


@pytest.mark.parametrize("weights", [[1.0, 2.0], 1.0, [[1.0, 1.0, 1.0]]])
def test_weights_of_another_shape_are_refused_with_epoch_and_both_shapes(weights):
    loss = CLASSES["softmax"](COUNTS)
    callback = ClassWeightScheduler(loss, lambda epoch: EQUAL if epoch < 1 else weights)
    shape = np.shape(weights)
    message = f"`schedule` returned weights of shape {shape} for epoch 1, the loss has (3,)."
    with pytest.raises(ValueError, match=re.escape(message)):
        fit(linear_model(loss), epochs=2, callbacks=[callback])


@pytest.mark.parametrize(
    ("bad", "value"), [(np.nan, "nan"), (-0.5, "-0.5"), (np.inf, "inf"), (1e39, "inf")]
)
def test_a_weight_that_is_none_is_refused_with_epoch_and_class(bad, value):
    loss = CLASSES["softmax"](COUNTS)
    weights = [1.0, 1.0, bad]
    callback = ClassWeightScheduler(loss, lambda epoch: EQUAL if epoch < 1 else weights)
    with pytest.raises(ValueError, match=rf"`schedule\(epoch\)` .*class 2 has {value} in epoch 1"):
        fit(linear_model(loss), epochs=2, callbacks=[callback])


def is_scheduled(model, callback):
    """Whether the epochs of `fit` have the losses that `deferred` gives a model at rate 0."""
    history = fit(model, epochs=4, callbacks=[callback])
    losses, _ = expected_training("softmax", [EQUAL, EQUAL, BALANCED, BALANCED], rate=0)
    return np.allclose(history, losses, rtol=1e-5)


def still_model(loss):
    return linear_model(loss, learning_rate=0.0)


def test_without_a_loss_it_finds_the_model_s():
    assert is_scheduled(
        still_model(CLASSES["softmax"](COUNTS)), ClassWeightScheduler(None, deferred)
    )


def test_a_copy_of_the_callback_as_a_tuner_makes_it_sets_the_weights_of_the_model_s_loss():
    model = still_model(CLASSES["softmax"](COUNTS))
    callback = copy.deepcopy(ClassWeightScheduler(model.loss, deferred))
    assert callback.loss is not model.loss
    assert is_scheduled(model, callback)
    assert callback.loss is model.loss


def test_a_loss_from_before_the_model_was_loaded_stands_for_the_loaded_one(tmp_path):
    model = still_model(CLASSES["softmax"](COUNTS))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert is_scheduled(loaded, ClassWeightScheduler(model.loss, deferred))


class Wrapped(keras.losses.Loss):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, y_true, y_pred):
        return self.inner.call(y_true, y_pred)


@pytest.mark.parametrize(
    "wrap",
    [
        Wrapped,
        lambda inner: lambda y_true, y_pred: inner(y_true, y_pred),
        lambda inner: functools.partial(lambda loss, y, z: loss(y, z), inner),
        lambda inner: inner.__call__,
    ],
    ids=["loss", "closure", "partial", "method"],
)
@pytest.mark.parametrize("given", [True, False])
def test_a_loss_within_the_model_s_is_found(wrap, given):
    inner = CLASSES["softmax"](COUNTS)
    callback = ClassWeightScheduler(inner if given else None, deferred)
    assert is_scheduled(still_model(wrap(inner)), callback)


def two_outputs(first, second):
    inputs = keras.Input((4,))
    outputs = {name: keras.layers.Dense(3, name=name)(inputs) for name in ("a", "b")}
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.0), {"a": first, "b": second})
    return model


def test_of_several_outputs_the_loss_that_is_given_is_set_and_a_copy_by_its_name():
    first, second = (CLASSES["softmax"](COUNTS, name=name) for name in ("one", "two"))
    model = two_outputs(first, second)
    callback = ClassWeightScheduler(first, lambda epoch: [3.0, 2.0, 1.0])
    for callbacks in ([callback], [copy.deepcopy(callback)]):
        first.class_weights.assign(EQUAL)
        model.fit(INPUTS, {"a": IDS_OF_INPUTS, "b": IDS_OF_INPUTS}, callbacks=callbacks, verbose=0)
        assert keras.ops.convert_to_numpy(first.class_weights.value).tolist() == [3, 2, 1]
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(second.class_weights.value), BALANCED
        )


@pytest.mark.parametrize(
    ("given", "losses", "message"),
    [
        (
            "softmax",
            ("sigmoid", "mse"),
            r"is not the model's: .* with 1 .*\(class_balanced_sigmoid",
        ),
        ("softmax", ("mse", "mse"), r"is not the model's: .* with 0 class-balanced losses"),
        ("softmax", ("softmax", "softmax"), r"is not the model's: .* 2 .* more than one of which"),
        (None, ("mse", "mse"), r"`loss`=None, but the model has 0 class-balanced losses"),
        (None, ("softmax", "focal"), r"`loss`=None, but the model has 2 class-balanced losses"),
    ],
)
def test_a_loss_that_is_not_the_model_s_is_refused_before_the_first_step(given, losses, message):
    made = [CLASSES[name](COUNTS) if name in CLASSES else name for name in losses]
    callback = ClassWeightScheduler(given and CLASSES[given](COUNTS), deferred)
    one_hot = np.eye(3)[IDS_OF_INPUTS]
    with pytest.raises(ValueError, match=message):
        two_outputs(*made).fit(
            INPUTS, {"a": one_hot, "b": one_hot}, callbacks=[callback], verbose=0
        )


def test_a_model_that_computes_its_own_loss_keeps_the_one_that_is_given():
    loss = CLASSES["softmax"](COUNTS)

    class Own(keras.Sequential):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return loss(y, y_pred)

    model = Own([keras.Input((4,)), keras.layers.Dense(3, use_bias=False)])
    model.set_weights([KERNEL])
    model.compile(keras.optimizers.SGD(0.0))
    assert is_scheduled(model, ClassWeightScheduler(loss, deferred))


@pytest.mark.parametrize("loss", ["mse", keras.losses.MeanSquaredError()])
def test_a_loss_without_class_weights_is_refused_at_once(loss):
    with pytest.raises(ValueError, match=r"`loss` must be one of cb_keras\.losses, or None"):
        ClassWeightScheduler(loss, deferred)


def test_weights_that_were_assigned_between_two_trainings_are_in_the_step():
    """JAX compiles them into the step, where they stay until the step is made again."""
    loss = CLASSES["softmax"](class_weights=[1.0, 1.0, 1.0])
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "linear")])
    model.compile(keras.optimizers.SGD(0.0), loss)
    inputs, labels = np.eye(2, dtype="float32"), np.array([0, 2])
    model.fit(inputs, labels, verbose=0)
    weights = np.array([0.25, 1.0, 5.0], "float32")
    loss.class_weights.assign(weights)
    scheduler = ClassWeightScheduler(loss, lambda epoch: weights)
    history = model.fit(inputs, labels, callbacks=[scheduler], verbose=0).history["loss"]
    right = float(keras.ops.convert_to_numpy(loss(labels, model(inputs))))
    np.testing.assert_allclose(history, [right], rtol=1e-5)
