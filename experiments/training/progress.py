"""The progress line of a training: epoch, loss, images/s and time left."""

import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

import keras
import numpy as np

from experiments.runs import figures


class ThroughputProgress(keras.callbacks.Callback):
    """Prints epoch, loss, images/s and time left; for `model.fit(verbose=0)`.

    On a terminal one line is rewritten during the epoch; elsewhere each epoch prints one line.
    Steps that compile, as the first of a run, and evaluations are left out of `images_per_second`;
    `train_seconds` leaves out evaluations only. Under `steps_per_execution` Keras calls back once
    for several steps, which are all counted; the first call is what is left out then.

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
        self._stream = stream  # not sys.stdout, which can't be copied, as tuners copy callbacks
        self._nobody_reads = False
        self.train_seconds = 0.0
        self.epoch_rate: float | None = None
        self._timed = (0, 0.0)  # images, seconds, without compilation
        self._compiled = False
        self._last_print = 0.0

    @property
    def stream(self) -> TextIO:
        """Where the lines go."""
        return self._stream or sys.stdout

    @property
    def images_per_second(self) -> float | None:
        """Images per second over all timed steps, or None."""
        images, seconds = self._timed
        return images / seconds if seconds > 0 else None

    def expect_compilation(self) -> None:
        """Leaves the next step out of the rate, as the first: it is compiled again."""
        self._compiled = False

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
        """Counts the batches up to this one; rewrites the line on a terminal."""
        # `batch` is the last step of an execution of one or more, which may overrun the epoch.
        self._done = min((batch + 1) * self.batch_size, self.num_images)
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
                + (
                    f"  {rate:.0f} images/s  {figures.duration(left / rate)} left"
                    if rate > 0
                    else ""
                )
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
        values = "  ".join(f"{name} {np.mean(value):.4f}" for name, value in logs.items())
        line = f"epoch {epoch + 1}/{self.epochs}  {values}"
        if self.epoch_rate:
            left = (self.epochs - epoch - 1) * self.num_images / self.epoch_rate
            line += f"  {self.epoch_rate:.0f} images/s  {figures.duration(left)} left"
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
        if self._nobody_reads:
            return
        try:
            self.stream.write(text)
            self.stream.flush()
        except BrokenPipeError:  # as under `| head`: no reason to stop a training
            self._nobody_reads = True
