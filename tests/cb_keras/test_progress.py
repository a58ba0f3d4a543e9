"""`cb_keras.callbacks.ThroughputProgress`: deprecated, and works as it did."""

import io

import keras
import numpy as np
import pytest

from cb_keras import _progress, callbacks


def progress(*args):
    with pytest.warns(DeprecationWarning, match=r"is deprecated.*fit\(verbose=1"):
        return callbacks.ThroughputProgress(*args)


def fit(callback, epochs):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01), "mse", run_eagerly=True)
    x = np.ones((10, 1))
    return model.fit(x, x, 4, epochs, verbose=0, callbacks=[callback]).history["loss"]


def test_it_warns_when_it_is_made_and_prints_a_line_an_epoch(monkeypatch):
    seconds = iter(range(100))  # one passes with every look at the clock
    monkeypatch.setattr(_progress.time, "perf_counter", lambda: float(next(seconds)))
    stream = io.StringIO()
    callback = progress(10, 4, 2, stream)
    losses = fit(callback, 2)
    first, second = stream.getvalue().splitlines()
    # After the step that compiles: 6 images, with a look after each of 3 steps and one at the end.
    assert first == f"epoch 1/2  loss {losses[0]:.4f}  2 images/s  7 s left"
    assert second.startswith(f"epoch 2/2  loss {losses[1]:.4f}  2 images/s  0 s left")
    assert callback.state()["timed_images"] == 16


def test_its_totals_are_restored():
    callback = progress(10, 4, 1)
    callback.restore(timed_images=6, timed_seconds=2.0, train_seconds=22.0)
    assert (callback.images_per_second, callback.train_seconds) == (3.0, 22.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(59, "59 s"), (60, "1 min"), (3599, "60 min"), (3600, "1.0 h"), (9000, "2.5 h")],
)
def test_times_are_in_seconds_minutes_or_hours(seconds, text):
    assert _progress._duration(seconds) == text
