"""Class weights by epoch against float64 numpy, and progress by a fake clock."""

import io
import re
import types

import keras
import numpy as np
import pytest

import cb_keras
from cb_keras.callbacks import ClassWeightScheduler, ThroughputProgress
from tests.cb_keras import reference
from tests.cb_keras.losses.test_class_balanced import CLASSES, COUNTS, kinds
from tests.cb_keras.losses.test_class_balanced_training import (
    IDS,
    INPUTS,
    KERNEL,
    WEIGHTS,
    fit,
    linear_model,
    modes,
)

EQUAL = np.ones(3)


def deferred(epoch):
    """Equal weights in epochs 0 and 1, class-balanced ones from epoch 2 on."""
    return EQUAL if epoch < 2 else WEIGHTS


def expected_training(kind, weights_of_epochs, rate=0.5):
    """Losses and last kernel of one full-batch step of gradient descent an epoch, float64."""
    kernel, targets, losses = KERNEL.astype("float64"), reference.one_hot(IDS, 3), []
    for weights in weights_of_epochs:
        logits = INPUTS @ kernel
        losses.append(reference.loss(kind, logits, targets, weights[IDS]).mean())
        slope = reference.gradient(kind, logits, targets, weights[IDS])
        kernel = kernel - rate * INPUTS.T @ slope / len(IDS)
    return losses, kernel


@modes
@kinds
def test_loss_and_step_change_in_the_epoch_that_the_schedule_names_not_one_later(kind, mode):
    loss = CLASSES[kind](COUNTS)
    model = linear_model(loss, mode)
    history = fit(model, epochs=4, callbacks=[ClassWeightScheduler(loss, deferred)])
    losses, kernel = expected_training(kind, [EQUAL, EQUAL, WEIGHTS, WEIGHTS])
    np.testing.assert_allclose(history, losses, rtol=1e-5)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4, atol=1e-6)


@modes
def test_every_step_of_the_epoch_and_its_validation_have_the_new_weights(mode):
    loss = CLASSES["softmax"](COUNTS)
    model = linear_model(loss, mode, learning_rate=0.0)
    history = model.fit(
        INPUTS,
        IDS,
        batch_size=2,
        epochs=4,
        shuffle=False,
        verbose=0,
        validation_data=(INPUTS, IDS),
        callbacks=[ClassWeightScheduler(loss, deferred)],
    ).history
    losses, _ = expected_training("softmax", [EQUAL, EQUAL, WEIGHTS, WEIGHTS], rate=0)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-5)
    np.testing.assert_allclose(history["val_loss"], losses, rtol=1e-5)


def test_a_run_that_resumes_after_the_boundary_starts_with_the_later_weights():
    loss = CLASSES["softmax"](class_weights=EQUAL)
    model = linear_model(loss)
    callbacks = [ClassWeightScheduler(loss, deferred)]
    history = fit(model, epochs=4, initial_epoch=3, callbacks=callbacks)
    np.testing.assert_allclose(history, expected_training("softmax", [WEIGHTS])[0], rtol=1e-5)


@pytest.mark.parametrize("weights", [[1.0, 2.0], 1.0, [[1.0, 1.0, 1.0]]])
def test_weights_of_another_shape_are_refused_with_epoch_and_both_shapes(weights):
    loss = CLASSES["softmax"](COUNTS)
    callback = ClassWeightScheduler(loss, lambda epoch: EQUAL if epoch < 1 else weights)
    shape = np.shape(weights)
    message = f"`schedule` returned weights of shape {shape} for epoch 1, the loss has (3,)."
    with pytest.raises(ValueError, match=re.escape(message)):
        fit(linear_model(loss), epochs=2, callbacks=[callback])


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

    def run(steps, stream, epochs=1, images=10, progress=None):
        clock = Clock(steps)
        fake = types.SimpleNamespace(perf_counter=lambda: clock.now)
        monkeypatch.setattr(cb_keras.callbacks, "time", fake)
        progress = progress or ThroughputProgress(images, 4, epochs, stream)
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.01), "mse", run_eagerly=True)
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
