"""Stops a run whose loss or weights are not finite any more."""

import functools
import math

import keras
import numpy as np

from experiments.cli import UserError
from experiments.training.checkpoint import newest_in_words


class StopOnDivergence(keras.callbacks.Callback):
    """Raises `UserError` where the training loss or the weights are NaN or infinite.

    Keras' running mean of the loss stays NaN or infinite until the end of the epoch, so one look
    every `every` steps misses nothing and does not make the device wait at each; the error names
    the first such step. The weights are looked at after each epoch: the last step may have spoilt
    them, or the statistics of batch normalisation, and its own loss does not show it.

    It must come before the checkpoint's callback, so that no such state is saved, and after the
    history's, which keeps the epoch.

    Args:
        checkpoint: Folder of the run's checkpoint, named in the error with the epoch it is of.
        every: Steps between two looks at the loss.
    """

    def __init__(self, checkpoint=None, every=50):
        super().__init__()
        self.checkpoint = checkpoint
        self.every = every
        self._losses = []  # of the steps since the last look: (step, running mean)

    def on_epoch_begin(self, epoch, logs=None):
        """Notes the epoch."""
        self._epoch = epoch
        self._losses.clear()

    def on_train_batch_end(self, batch, logs=None):
        """Keeps the loss, and looks at it when it is time to."""
        if logs and "loss" in logs:
            self._losses.append((batch + 1, logs["loss"]))
        if len(self._losses) >= self.every:
            self._look_at_losses()

    def on_epoch_end(self, epoch, logs=None):
        """Looks at the rest of the epoch's losses and at the weights."""
        self._look_at_losses()
        if not _are_finite([*self.model.variables, *self.model.optimizer.variables]):
            raise UserError(
                f"the training diverged: after the last step of epoch {epoch + 1} the weights are "
                f"not finite{self._advice()}"
            )

    def _look_at_losses(self):
        losses, self._losses = self._losses, []
        if not losses or math.isfinite(float(losses[-1][1])):
            return
        step, loss = next((s, x) for s, x in losses if not math.isfinite(float(x)))
        steps = (self.params or {}).get("steps")
        raise UserError(
            f"the training diverged: the loss is {float(loss)} at step {step}"
            f"{f' of {steps}' if steps else ''} of epoch {self._epoch + 1}{self._advice()}"
        )

    def _advice(self):
        mixed = any(layer.dtype_policy.compute_dtype != "float32" for layer in self.model.layers)
        third = "--precision=float32" if mixed else "a --cb_power nearer to 0"
        return (
            f". Train again in another --output_dir with a lower --learning_rate, a longer "
            f"--warmup_epochs, or {third}. {self._last_good()}"
        )

    def _last_good(self):
        if self.checkpoint is None:
            return "The last checkpoint, if there is one, is in the run directory."
        return newest_in_words(self.checkpoint)


def _are_finite(variables):
    """Whether all values of all variables of floating point are finite."""
    floats = [v for v in variables if keras.backend.is_float_dtype(v.dtype)]
    if keras.backend.backend() == "jax":  # in one call, not one a variable
        return bool(_on_jax()([v.value for v in floats]))
    return all(np.isfinite(keras.ops.convert_to_numpy(v)).all() for v in floats)


@functools.cache
def _on_jax():
    import jax
    import jax.numpy as jnp

    return jax.jit(lambda arrays: jnp.stack([jnp.isfinite(a).all() for a in arrays]).all())
