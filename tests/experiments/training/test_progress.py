"""The progress line of a training, by a fake clock."""

import io
import types

import keras
import numpy as np
import pytest

from experiments.runs import figures
from experiments.training import progress as progress_module
from experiments.training.progress import ThroughputProgress


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
        monkeypatch.setattr(progress_module, "time", fake)
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
        values = [
            f"loss {loss:.4f}  val_loss {val_loss:.4f}"
            for loss, val_loss in zip(history["loss"], history["val_loss"], strict=True)
        ]
        return progress, values

    return run


def test_each_epoch_prints_one_line_where_there_is_no_terminal(run):
    stream = io.StringIO()
    _, values = run([20, 1, 1] + [0.5] * 3, stream, epochs=2)
    # Epoch 1: 6 images in 2 s after the step that compiles; epoch 2: 10 in 1.5 s.
    assert stream.getvalue() == (
        f"epoch 1/2  {values[0]}  3 images/s  3 s left\n"
        f"epoch 2/2  {values[1]}  7 images/s  0 s left\n"
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
    _, values = run([20, 1, 2, 1], stream, epochs=1, images=14)
    assert stream.getvalue().split("\r") == [
        "",
        "epoch 1/1  4/14 images\x1b[K",
        "epoch 1/1  8/14 images  4 images/s  2 s left\x1b[K",  # 4 images in 1 s, 6 to go
        "epoch 1/1  12/14 images  3 images/s  1 s left\x1b[K",  # 8 in 3 s, 2 to go
        "epoch 1/1  14/14 images  2 images/s  0 s left\x1b[K",  # 10 in 4 s
        f"epoch 1/1  {values[0]}  2 images/s  0 s left\x1b[K\n",
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
    progress, values = run([5], stream, images=3)
    assert stream.getvalue() == f"epoch 1/1  {values[0]}\n"
    assert progress.images_per_second is None
    assert progress.epoch_rate is None
    assert progress.train_seconds == 5


def test_a_long_time_left_is_printed_as_every_program_prints_it(run):
    stream = io.StringIO()
    # The second step's 4 images take half as long as the 8 of epoch 2 will.
    run([1, 9000 / 2, 1, 1], stream, epochs=2, images=8)
    assert stream.getvalue().splitlines()[0].endswith(f"  {figures.duration(9000)} left")


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
    _, values = run([1, 1, 1], None)
    assert capsys.readouterr().out == f"epoch 1/1  {values[0]}  3 images/s  0 s left\n"
