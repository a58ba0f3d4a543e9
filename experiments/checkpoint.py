"""Checkpoint of a training run: all variables, and what else a continuation needs."""

import io
import json
import pathlib
import zipfile

import keras
import numpy as np

from experiments.cli import UserError
from experiments.record import write_atomically

_FILE = "state.npz"


class Checkpoint(keras.callbacks.Callback):
    """Saves the training state after every `every`th epoch and after the last.

    Args:
        folder: Folder of the checkpoint.
        every: Epochs between checkpoints.
        epochs: Epochs of the whole run.
        state: Function without arguments, called at each checkpoint, that returns what else to
            keep, as a JSON-able dict.
    """

    def __init__(self, folder, every, epochs, state):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.every = every
        self.epochs = epochs
        self.state = state

    def on_epoch_end(self, epoch, logs=None):
        """Saves, where it is time to."""
        done = epoch + 1
        if done % self.every == 0 or done == self.epochs:
            save(self.folder, self.model, done, self.state())


def save(folder, model, epochs_done, state):
    """Writes the variables of model and optimizer, `epochs_done` and `state`, atomically."""
    arrays = {
        f"variable_{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(_variables(model))
    }
    header = {"epochs_done": epochs_done, "state": state, "names": _names(model)}
    buffer = io.BytesIO()
    np.savez(buffer, header=np.array(json.dumps(header)), **arrays)
    pathlib.Path(folder).mkdir(exist_ok=True)
    write_atomically(pathlib.Path(folder) / _FILE, buffer.getvalue())


def restore(folder, model):
    """Puts the checkpoint's values into `model` and its optimizer, which must be built.

    Returns:
        `(epochs_done, state)`, or `(0, None)` where there is no checkpoint.

    Raises:
        UserError: The file is damaged, or belongs to another model.
    """
    path = pathlib.Path(folder) / _FILE
    if not path.exists():
        return 0, None
    variables = _variables(model)
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            values = [file[f"variable_{i}"] for i in range(len(header["names"]))]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error}); delete it to start anew.") from error
    shapes = [tuple(v.shape) for v in variables]
    if header["names"] != _names(model) or shapes != [v.shape for v in values]:
        raise UserError(
            f"{path} holds the variables of another model; choose another --output_dir."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return header["epochs_done"], header["state"]


def _variables(model):
    return [*model.variables, *model.optimizer.variables]


def _names(model):
    return [v.name for v in _variables(model)]
