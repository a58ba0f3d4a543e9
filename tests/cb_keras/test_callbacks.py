"""Class weights by epoch against float64 numpy, and progress by a fake clock."""

import copy
import functools
import io
import re
import types

import keras
import numpy as np
import pytest

import cb_keras
from cb_keras.callbacks import ClassWeightScheduler, ThroughputProgress
from tests.cb_keras import reference
from tests.cb_keras.cases import (
    BALANCED_WEIGHTS,
    CLASSES,
    COUNTS,
    IDS_OF_INPUTS,
    INPUTS,
    KERNEL,
    fit,
    kinds,
    linear_model,
    modes,
)

EQUAL = np.ones(3)


def deferred(epoch):
    """Equal weights in epochs 0 and 1, class-balanced ones from epoch 2 on."""
    return EQUAL if epoch < 2 else BALANCED_WEIGHTS


def expected_training(kind, weights_of_epochs, rate=0.5):
    """Losses and last kernel of one full-batch step of gradient descent an epoch, float64."""
    kernel, targets, losses = KERNEL.astype("float64"), reference.one_hot(IDS_OF_INPUTS, 3), []
    for weights in weights_of_epochs:
        logits = INPUTS @ kernel
        losses.append(reference.loss(kind, logits, targets, weights[IDS_OF_INPUTS]).mean())
        slope = reference.gradient(kind, logits, targets, weights[IDS_OF_INPUTS])
        kernel = kernel - rate * INPUTS.T @ slope / len(IDS_OF_INPUTS)
    return losses, kernel


@modes
@kinds
def test_loss_and_step_change_in_the_epoch_that_the_schedule_names_not_one_later(kind, mode):
    loss = CLASSES[kind](COUNTS)
    model = linear_model(loss, mode)
    history = fit(model, epochs=4, callbacks=[ClassWeightScheduler(loss, deferred)])
    losses, kernel = expected_training(kind, [EQUAL, EQUAL, BALANCED_WEIGHTS, BALANCED_WEIGHTS])
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
    losses, _ = expected_training(
        "softmax", [EQUAL, EQUAL, BALANCED_WEIGHTS, BALANCED_WEIGHTS], rate=0
    )
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-5)
    np.testing.assert_allclose(history["val_loss"], losses, rtol=1e-5)


def test_a_run_that_resumes_after_the_boundary_starts_with_the_later_weights():
    loss = CLASSES["softmax"](class_weights=EQUAL)
    model = linear_model(loss)
    callbacks = [ClassWeightScheduler(loss, deferred)]
    history = fit(model, epochs=4, initial_epoch=3, callbacks=callbacks)
    np.testing.assert_allclose(
        history, expected_training("softmax", [BALANCED_WEIGHTS])[0], rtol=1e-5
    )


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
    losses, _ = expected_training(
        "softmax", [EQUAL, EQUAL, BALANCED_WEIGHTS, BALANCED_WEIGHTS], rate=0
    )
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
            keras.ops.convert_to_numpy(second.class_weights.value), BALANCED_WEIGHTS
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


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock(keras.callbacks.Callback):
    """A clock that stands still but for the seconds given to each step and each evaluation."""

    def __init__(self, steps, evaluation=100.0):
        super().__init__()
        self.now, self.steps, self.evaluation = 1000.0, iter(steps), evaluation

    def on_train_batch_begin(self, batch, logs=None):
        self.now += next(self.steps)

    def on_test_end(self, logs=None):
        self.now += self.evaluation


@pytest.fixture
def run(monkeypatch):
    """Trains by a fake clock on 10 images in batches of 4: steps of 4, 4 and 2 images."""

    def run(steps, stream, epochs=1, images=10, progress=None, steps_per_execution=1):
        clock = Clock(steps)
        fake = types.SimpleNamespace(perf_counter=lambda: clock.now)
        monkeypatch.setattr(cb_keras.callbacks, "time", fake)
        progress = progress or ThroughputProgress(images, 4, epochs, stream)
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(
            keras.optimizers.SGD(0.01),
            "mse",
            run_eagerly=steps_per_execution == 1,
            jit_compile=False,
            steps_per_execution=steps_per_execution,
        )
        x = np.ones((images, 1))
        callbacks = [clock, progress]
        history = model.fit(
            x, x, 4, epochs, verbose=0, validation_data=(x, x), callbacks=callbacks
        ).history
        figures = [
            f"loss {loss:.4f}  val_loss {val_loss:.4f}"
            for loss, val_loss in zip(history["loss"], history["val_loss"], strict=True)
        ]
        return progress, figures

    return run


def test_each_epoch_prints_one_line_where_there_is_no_terminal(run):
    stream = io.StringIO()
    _, figures = run([20, 1, 1] + [0.5] * 3, stream, epochs=2)
    # Epoch 1: 6 images in 2 s after the step that compiles; epoch 2: 10 in 1.5 s.
    assert stream.getvalue() == (
        f"epoch 1/2  {figures[0]}  3 images/s  3 s left\n"
        f"epoch 2/2  {figures[1]}  7 images/s  0 s left\n"
    )


def test_rates_leave_out_the_first_step_and_evaluations_and_seconds_only_evaluations(run):
    progress, _ = run([20, 1, 1] + [0.5] * 3, io.StringIO(), epochs=2)
    assert progress.epoch_rate == pytest.approx(10 / 1.5)
    assert progress.images_per_second == pytest.approx(16 / 3.5)
    assert progress.train_seconds == pytest.approx(22 + 1.5)


def test_every_step_of_an_execution_is_counted(run):
    if keras.backend.backend() == "torch":
        pytest.skip("Keras runs one step an execution on PyTorch")
    stream = Terminal()
    # 22 images in steps of 4: executions of two steps, the last of steps 5 and 6, of 4 + 2 images.
    progress, _ = run([10, 1, 1.5], stream, images=22, steps_per_execution=2)
    done = [line.split()[2] for line in stream.getvalue().split("\r")[1:-1]]
    assert done == ["8/22", "16/22", "22/22"]
    assert progress.epoch_rate == progress.images_per_second == pytest.approx(14 / 2.5)
    assert progress.train_seconds == pytest.approx(12.5)


def test_a_terminal_has_its_line_rewritten_and_ended_with_the_epoch(run):
    stream = Terminal()
    _, figures = run([20, 1, 2, 1], stream, epochs=1, images=14)
    assert stream.getvalue().split("\r") == [
        "",
        "epoch 1/1  4/14 images\x1b[K",
        "epoch 1/1  8/14 images  4 images/s  2 s left\x1b[K",  # 4 images in 1 s, 6 to go
        "epoch 1/1  12/14 images  3 images/s  1 s left\x1b[K",  # 8 in 3 s, 2 to go
        "epoch 1/1  14/14 images  2 images/s  0 s left\x1b[K",  # 10 in 4 s
        f"epoch 1/1  {figures[0]}  2 images/s  0 s left\x1b[K\n",
    ]


def test_time_left_on_a_terminal_counts_the_epochs_to_come(run):
    stream = Terminal()
    run([1] * 6, stream, epochs=2)
    # 4 images in 1 s, with 2 of the first epoch and 10 of the second to go.
    assert "epoch 1/2  8/10 images  4 images/s  3 s left" in stream.getvalue()


def test_a_terminal_is_written_to_five_times_a_second_at_most(run):
    stream = Terminal()
    run([0.15] * 7, stream, images=28)
    done = [line.split()[2] for line in stream.getvalue().split("\r")[1:-1]]
    assert done == ["4/28", "12/28", "20/28", "28/28"]


def test_a_run_of_a_single_step_has_no_rate(run):
    stream = io.StringIO()
    progress, figures = run([5], stream, images=3)
    assert stream.getvalue() == f"epoch 1/1  {figures[0]}\n"
    assert progress.images_per_second is None
    assert progress.epoch_rate is None
    assert progress.train_seconds == 5


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (59, "59 s"),
        (60, "1 min"),
        (170, "3 min"),
        (3599, "60 min"),
        (3600, "1.0 h"),
        (9000, "2.5 h"),
    ],
)
def test_time_left_is_in_seconds_minutes_or_hours(run, seconds, text):
    stream = io.StringIO()
    # The second step's 4 images take half as long as the 8 of epoch 2 will.
    run([1, seconds / 2, 1, 1], stream, epochs=2, images=8)
    assert stream.getvalue().splitlines()[0].endswith(f"  {text} left")


def test_state_and_restore_continue_the_totals_of_an_interrupted_run(run):
    first, _ = run([20, 1, 1], io.StringIO())
    assert first.state() == {"timed_images": 6, "timed_seconds": 2.0, "train_seconds": 22.0}
    second = ThroughputProgress(10, 4, 1, io.StringIO())
    second.restore(**first.state())
    assert second.state() == first.state()
    assert second.images_per_second == first.images_per_second == 3
    # A resumed run compiles again, so its first step is not timed either.
    run([30, 0.5, 0.5], None, progress=second)
    assert second.images_per_second == pytest.approx((6 + 6) / (2 + 1))
    assert second.train_seconds == pytest.approx(22 + 31)


def test_an_evaluation_before_training_is_not_counted():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(loss="mse", run_eagerly=True)
    progress = ThroughputProgress(4, 4, 1, io.StringIO())
    model.evaluate(np.ones((4, 1)), np.ones((4, 1)), verbose=0, callbacks=[progress])
    assert progress.state() == {"timed_images": 0, "timed_seconds": 0.0, "train_seconds": 0.0}


def test_it_prints_to_standard_output_by_default(run, capsys):
    _, figures = run([1, 1, 1], None)
    assert capsys.readouterr().out == f"epoch 1/1  {figures[0]}  3 images/s  0 s left\n"


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
