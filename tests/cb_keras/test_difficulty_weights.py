"""Class weights by running training error, against float64 gradient descent in numpy."""

import copy

import keras
import numpy as np
import pytest

import cb_keras
from cb_keras.callbacks import DifficultyWeights
from tests.cb_keras import reference
from tests.cb_keras.cases import (
    CLASSES,
    COUNTS,
    IDS_OF_INPUTS,
    INPUTS,
    KERNEL,
    fit,
    linear_model,
    number,
)

BASE = np.array([0.5, 0.75, 1.75])


def expected(epochs, power, momentum, floor, counts=(1, 1, 1), rate=0.5):
    """Losses and last kernel of one full-batch step an epoch, and the weights of each epoch."""
    kernel, targets, losses = KERNEL.astype("float64"), reference.one_hot(IDS_OF_INPUTS, 3), []
    weights, used, errors = BASE, [], []
    for _ in range(epochs):
        logits = INPUTS @ kernel
        used.append(weights)
        losses.append(reference.loss("softmax", logits, targets, weights[IDS_OF_INPUTS]).mean())
        slope = reference.gradient("softmax", logits, targets, weights[IDS_OF_INPUTS])
        kernel = kernel - rate * INPUTS.T @ slope / len(IDS_OF_INPUTS)
        wrong = logits.argmax(1) != IDS_OF_INPUTS
        errors.append([wrong[c == IDS_OF_INPUTS].mean() for c in range(3)])
        ages = np.arange(len(errors))[::-1]
        running = np.average(errors, axis=0, weights=momentum**ages) if momentum else errors[-1]
        raw = BASE * (np.asarray(running) + floor) ** power
        weights = raw * np.dot(counts, BASE) / np.dot(counts, raw)
    return losses, kernel, used


def model_of(mode="eager", metrics=None):
    metrics = [cb_keras.metrics.BalancedAccuracy(3)] if metrics is None else metrics
    return linear_model(CLASSES["softmax"](class_weights=BASE), mode, metrics=metrics)


@pytest.mark.parametrize(
    ("mode", "power", "momentum", "floor", "counts"),
    [
        ("graph", 1.0, 0.9, 0.1, None),
        ("eager", 2.0, 0.0, 0.5, COUNTS),
        ("eager", -0.5, 0.5, 0.25, None),
    ],
)
def test_weights_are_those_of_the_error_so_far_and_the_next_step_has_them(
    mode, power, momentum, floor, counts
):
    model = model_of(mode)
    seen = []
    callback = DifficultyWeights(None, BASE, power, momentum, floor, counts)
    look = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: seen.append(number(model.loss.class_weights))
    )
    history = fit(model, epochs=4, callbacks=[callback, look])
    losses, kernel, used = expected(4, power, momentum, floor, counts or (1, 1, 1))
    assert not np.allclose(used[1], used[0])
    np.testing.assert_allclose(seen, used, rtol=1e-5)
    np.testing.assert_allclose(history, losses, rtol=1e-5)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4, atol=1e-6)


def test_a_validation_does_not_change_what_is_read_of_an_epoch():
    """The metric counts the validation after the training; here all of it is of one class."""
    histories = []
    for validation in (None, (INPUTS[:1], IDS_OF_INPUTS[:1])):
        callback = DifficultyWeights(None, BASE)
        histories.append(
            fit(model_of(), epochs=3, validation_data=validation, callbacks=[callback])
        )
    assert histories[0] == histories[1]


def test_a_training_that_is_continued_from_its_state_has_the_same_weights():
    whole, first = model_of(), model_of()
    losses = fit(whole, epochs=4, callbacks=[DifficultyWeights(None, BASE)])
    callback = DifficultyWeights(None, BASE)
    begun = fit(first, epochs=2, callbacks=[callback])
    other = DifficultyWeights(None, BASE)
    other.restore(callback.state())
    rest = fit(first, epochs=4, initial_epoch=2, callbacks=[copy.deepcopy(other)])
    assert begun + rest == losses
    with pytest.raises(ValueError, match="`state` has 2 classes, `weights` has 3"):
        other.restore({"errors": [0.0, 0.0], "epochs": [0.0, 0.0]})


def test_a_class_that_was_never_seen_counts_as_the_mean_of_the_others():
    callback, model = DifficultyWeights(None, BASE, momentum=0.0), model_of()
    some = IDS_OF_INPUTS > 0
    model.fit(INPUTS[some], IDS_OF_INPUTS[some], verbose=0, callbacks=[callback])
    wrong = (INPUTS @ KERNEL).argmax(1) != IDS_OF_INPUTS
    error = np.array([0, wrong[IDS_OF_INPUTS == 1].mean(), wrong[IDS_OF_INPUTS == 2].mean()])
    error[0] = error[1:].mean()
    raw = BASE * (error + 0.1)
    np.testing.assert_allclose(callback.schedule(1), raw * BASE.sum() / raw.sum(), rtol=1e-6)


def test_power_zero_keeps_the_weights_and_any_power_the_sum():
    for power in (0.0, 1.0, 1e6, -1e6):
        callback = DifficultyWeights(None, BASE, power)
        assert callback.schedule(0).tolist() == BASE.tolist()
        callback.restore({"errors": [0.0, 0.05, 0.1], "epochs": [0.1, 0.1, 0.1]})
        found = callback.schedule(1)
        assert found.sum() == pytest.approx(3, rel=1e-6)
        if power == 0:
            np.testing.assert_allclose(found, BASE, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"weights": [1.0, -1.0, 1.0]}, "`weights` must be finite and >= 0"),
        ({"power": np.inf}, "`power` must be finite"),
        ({"momentum": 1.0}, r"`momentum` must be in \[0, 1\)"),
        ({"floor": 0.0}, "`floor` must be a finite number > 0"),
        ({"class_counts": [5, 5]}, "`class_counts` has 2 classes, `weights` has 3"),
    ],
)
def test_an_argument_out_of_range_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        DifficultyWeights(None, **{"weights": BASE, **arguments})


def two_outputs(losses, metrics):
    """Outputs of the labels' own class and of class 0 always, neither of which is trained."""
    inputs = keras.Input((3,))
    right = keras.layers.Dense(3, name="a", use_bias=False, kernel_initializer="identity")(inputs)
    first = keras.layers.Dense(3, name="b", use_bias=False, kernel_initializer="zeros")(inputs)
    model = keras.Model(inputs, {"a": right, "b": first})
    model.compile(keras.optimizers.SGD(0.0), losses, metrics=metrics)
    return model


def fit_two(model, loss):
    ids = np.arange(40) % 3
    difficulty = DifficultyWeights(loss, [1.0, 1.0, 1.0], momentum=0.0)
    x, y = np.eye(3, dtype="float32")[ids], {"a": ids, "b": ids}
    model.fit(x, y, epochs=2, verbose=0, callbacks=[difficulty])
    return difficulty.state()["errors"]


@pytest.mark.parametrize(("name", "errors"), [("a", [0.0, 0.0, 0.0]), ("b", [0.0, 1.0, 1.0])])
def test_of_several_outputs_the_errors_are_those_of_the_loss_s_own(name, errors):
    losses = {key: CLASSES["softmax"](class_weights=[1, 1, 1], name=key) for key in "ab"}
    metrics = {key: ["accuracy", cb_keras.metrics.BalancedAccuracy(3)] for key in "ab"}
    assert fit_two(two_outputs(losses, metrics), losses[name]) == errors


class Unnamed(keras.Model):
    """Outputs as of `two_outputs`, in a list, for which Keras has no names."""

    def __init__(self):
        super().__init__()
        self.right = keras.layers.Dense(3, use_bias=False, kernel_initializer="identity")
        self.first = keras.layers.Dense(3, use_bias=False, kernel_initializer="zeros")

    def call(self, inputs):
        return [self.right(inputs), self.first(inputs)]


def twice():
    """A layer that gives two outputs, so that they have one name; the second is never right."""
    inputs = keras.Input((3,))
    layer = keras.layers.Dense(3, name="d", use_bias=False, kernel_initializer="identity")
    return keras.Model(inputs, [layer(inputs), layer(-inputs)])


def nested():
    inputs = keras.Input((3,))
    right = keras.layers.Dense(3, name="a", use_bias=False, kernel_initializer="identity")
    first = keras.layers.Dense(3, name="b", use_bias=False, kernel_initializer="zeros")
    return keras.Model(inputs, {"h": {"x": right(inputs), "y": first(inputs)}})


@pytest.mark.parametrize(("make", "wrong"), [(Unnamed, [0, 1, 1]), (twice, [1, 1, 1])])
@pytest.mark.parametrize("position", [0, 1])
def test_outputs_without_names_are_told_apart_by_their_order(make, wrong, position):
    ids = np.arange(40) % 3
    losses = [CLASSES["softmax"](class_weights=[1, 1, 1], name=key) for key in "ab"]
    metrics = [[cb_keras.metrics.BalancedAccuracy(3)] for _ in "ab"]
    model = make()
    model.compile(keras.optimizers.SGD(0.0), losses, metrics=metrics)
    difficulty = DifficultyWeights(losses[position], [1.0, 1.0, 1.0], momentum=0.0)
    x = np.eye(3, dtype="float32")[ids]
    model.fit(x, [ids, ids], epochs=1, verbose=0, callbacks=[difficulty])
    assert difficulty.state()["errors"] == ([0, 0, 0] if position == 0 else wrong)


@pytest.mark.parametrize(("key", "errors"), [("x", [0, 0, 0]), ("y", [0, 1, 1])])
def test_outputs_within_outputs_are_told_apart_by_their_path(key, errors):
    ids = np.arange(40) % 3
    losses = {k: CLASSES["softmax"](class_weights=[1, 1, 1], name=k) for k in "xy"}
    model = nested()
    metrics = {k: [cb_keras.metrics.BalancedAccuracy(3)] for k in "xy"}
    model.compile(keras.optimizers.SGD(0.0), {"h": losses}, metrics={"h": metrics})
    difficulty = DifficultyWeights(losses[key], [1.0, 1.0, 1.0], momentum=0.0)
    x = np.eye(3, dtype="float32")[ids]
    model.fit(x, {"h": {"x": ids, "y": ids}}, epochs=1, verbose=0, callbacks=[difficulty])
    assert difficulty.state()["errors"] == errors


def test_a_loss_of_several_outputs_has_the_errors_of_the_one_with_a_metric():
    loss = CLASSES["softmax"](class_weights=[1, 1, 1])
    metrics = {"a": ["accuracy"], "b": [cb_keras.metrics.BalancedAccuracy(3)]}
    assert fit_two(two_outputs(dict.fromkeys("ab", loss), metrics), loss) == [0.0, 1.0, 1.0]


def test_of_several_outputs_one_without_a_metric_or_a_loss_of_its_own_is_refused():
    losses = {key: CLASSES["softmax"](class_weights=[1, 1, 1], name=key) for key in "ab"}
    other = {"a": [cb_keras.metrics.BalancedAccuracy(3)], "b": ["accuracy"]}
    with pytest.raises(ValueError, match="output b of the model, whose loss this is, has no"):
        fit_two(two_outputs(losses, other), losses["b"])
    both = {key: [cb_keras.metrics.BalancedAccuracy(3)] for key in "ab"}
    with pytest.raises(ValueError, match="may be of any of the outputs a, b, and the errors"):
        fit_two(two_outputs(dict.fromkeys("ab", losses["a"]), both), losses["a"])


def test_a_model_without_a_metric_that_counts_by_class_is_refused_after_the_first_batch():
    words = r"compile it with metrics=\[cb_keras.metrics.BalancedAccuracy\(3\)\]"
    for metrics in ([], ["accuracy"]):
        with pytest.raises(ValueError, match=words):
            fit(model_of(metrics=metrics), callbacks=[DifficultyWeights(None, BASE)])
