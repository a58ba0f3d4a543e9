"""Callbacks for long-tailed training: class weights by epoch, progress."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import keras
import numpy as np
from numpy.typing import ArrayLike


class ClassWeightScheduler(keras.callbacks.Callback):
    """Sets the class weights of a class-balanced loss at the start of every epoch.

    Deferred re-weighting (Cao et al., NeurIPS 2019), for instance, trains with equal weights
    first and with class-balanced ones from a later epoch on:

        weights = cb_keras.class_balanced_weights(class_counts)
        ClassWeightScheduler(loss, lambda epoch: np.ones_like(weights) if epoch < 160 else weights)

    Works under every `jit_compile` setting. On JAX, whose trainer compiles the weights into the
    step, a change compiles the step again.

    Args:
        loss: One of `cb_keras.losses`, the one the model was compiled with.
        schedule: Function of the epoch (from 0) that returns weights `[C]`.
    """

    def __init__(self, loss: Any, schedule: Callable[[int], ArrayLike]) -> None:
        super().__init__()
        self.loss = loss
        self.schedule = schedule

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Assigns `schedule(epoch)`."""
        weights = np.asarray(self.schedule(epoch), dtype="float32")
        if weights.shape != tuple(self.loss.class_weights.shape):
            raise ValueError(
                f"`schedule` returned weights of shape {weights.shape} for epoch {epoch}, the "
                f"loss has {tuple(self.loss.class_weights.shape)}."
            )
        if np.array_equal(weights, keras.ops.convert_to_numpy(self.loss.class_weights.value)):
            return
        self.loss.class_weights.assign(weights)
        if keras.backend.backend() == "jax":
            self.model.make_train_function(force=True)
            self.model.make_test_function(force=True)


class ThroughputProgress(keras.callbacks.Callback):
    """Prints epoch, loss, images/s and time left; for `model.fit(verbose=0)`.

    On a terminal one line is rewritten during the epoch; elsewhere each epoch prints one line.
    The first step of a run, which compiles, and evaluations are left out of `images_per_second`;
    `train_seconds` leaves out evaluations only.

    Args:
        num_images: Training images per epoch.
        batch_size: Images per step.
        epochs: Epochs of the whole run.
        stream: Where to print, `sys.stdout` by default.

    Attributes:
        images_per_second: Of the run so far up to the last epoch's end or evaluation, None before.
        train_seconds: Of all epochs so far.
        epoch_rate: Images per second of the last epoch, None if the run's first step was all of it.
    """

    def __init__(
        self, num_images: int, batch_size: int, epochs: int, stream: TextIO | None = None
    ) -> None:
        super().__init__()
        self.num_images = num_images
        self.batch_size = batch_size
        self.epochs = epochs
        self.stream = stream or sys.stdout
        self.train_seconds = 0.0
        self.epoch_rate: float | None = None
        self._timed = (0, 0.0)  # images, seconds, without compilation
        self._compiled = False
        self._last_print = 0.0

    @property
    def images_per_second(self) -> float | None:
        """Images per second over all timed steps, or None."""
        images, seconds = self._timed
        return images / seconds if seconds > 0 else None

    def restore(self, timed_images: int, timed_seconds: float, train_seconds: float) -> None:
        """Continues the totals of an interrupted run."""
        self._timed = (timed_images, timed_seconds)
        self.train_seconds = train_seconds

    def state(self) -> dict[str, Any]:
        """Arguments for `restore`."""
        return {
            "timed_images": self._timed[0],
            "timed_seconds": self._timed[1],
            "train_seconds": self.train_seconds,
        }

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Starts the epoch's clock."""
        self._epoch = epoch
        self._start = self._timed_start = time.perf_counter()
        self._done = self._timed_from = 0
        self._stopped = False

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Counts the batch; rewrites the line on a terminal."""
        self._done = min(self._done + self.batch_size, self.num_images)
        if not self._compiled:
            self._compiled = True
            self._timed_start, self._timed_from = time.perf_counter(), self._done
        now = time.perf_counter()
        if self.stream.isatty() and now - self._last_print > 0.2:
            self._last_print = now
            rate = (self._done - self._timed_from) / max(now - self._timed_start, 1e-9)
            left = (self.epochs - self._epoch) * self.num_images - self._done
            self._write(
                f"\repoch {self._epoch + 1}/{self.epochs}  {self._done}/{self.num_images} images"
                + (f"  {rate:.0f} images/s  {_duration(left / rate)} left" if rate > 0 else "")
                + "\x1b[K"
            )

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Stops the clock for the evaluation."""
        if hasattr(self, "_start"):
            self._stop_clock()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Prints the epoch's line."""
        self._stop_clock()
        logs = logs or {}
        figures = "  ".join(f"{name} {float(value):.4f}" for name, value in logs.items())
        line = f"epoch {epoch + 1}/{self.epochs}  {figures}"
        if self.epoch_rate:
            left = (self.epochs - epoch - 1) * self.num_images / self.epoch_rate
            line += f"  {self.epoch_rate:.0f} images/s  {_duration(left)} left"
        self._write(f"\r{line}\x1b[K\n" if self.stream.isatty() else f"{line}\n")

    def _stop_clock(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        now = time.perf_counter()
        self.train_seconds += now - self._start
        images, seconds = self._done - self._timed_from, now - self._timed_start
        self.epoch_rate = images / seconds if images > 0 else None
        if images > 0:
            self._timed = (self._timed[0] + images, self._timed[1] + seconds)

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
