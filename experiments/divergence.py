"""Stops a run whose loss is no number any more."""

import math

import keras

from experiments.cli import UserError


class StopOnDivergence(keras.callbacks.Callback):
    """Raises `UserError` at the end of an epoch whose loss is NaN or infinite.

    It must come before the checkpoint's callback, so that no such state is saved, and after the
    history's, which keeps the epoch.
    """

    def on_epoch_end(self, epoch, logs=None):
        """Checks the epoch's training loss."""
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise UserError(
                f"the training diverged: the loss of epoch {epoch + 1} is {loss}. Lower "
                "--learning_rate, lengthen --warmup_epochs, or, under mixed precision, use "
                "--precision=float32. history.csv and the last checkpoint are in the run directory."
            )
