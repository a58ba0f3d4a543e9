"""Checkpoint of a training run: all variables, and what else a continuation needs."""

import hashlib
import json
import os
import pathlib

import keras
import numpy as np

from experiments.cli import UserError
from experiments.runs import atomic
from experiments.runs.figures import counted
from experiments.runs.saved_epochs import NEWEST, header_of

PREVIOUS, DAMAGED = "previous.npz", "damaged.npz"


class Checkpoint(keras.callbacks.Callback):
    """Saves the training state after every `every`th epoch and after the last.

    Args:
        folder: Folder of the checkpoint.
        every: Epochs between checkpoints.
        epochs: Epochs of the whole run.
        state: Function without arguments, called at each checkpoint, that returns what else to
            keep, as a JSON-able dict.
        also: Variables that are kept next to those of model and optimizer.
    """

    def __init__(self, folder, every, epochs, state, also=()):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.every = every
        self.epochs = epochs
        self.state = state
        self.also = also

    def on_epoch_end(self, epoch, logs=None):
        """Saves, where it is time to."""
        done = epoch + 1
        if done % self.every == 0 or done == self.epochs:
            save(self.folder, self.model, done, self.state(), self.also)


def save(folder, model, epochs_done, state, also=()):
    """Writes the variables of model, optimizer and `also`, `epochs_done` and `state`, atomically.

    The checkpoint before stays next to it, for the case that this one is damaged later.
    """
    variables = _variables(model, also)
    arrays = {f"variable_{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(variables)}
    header = {"epochs_done": epochs_done, "state": state, "names": [v.name for v in variables]}
    arrays["header"] = np.array(json.dumps(header))
    folder = pathlib.Path(folder)
    folder.mkdir(exist_ok=True)
    with atomic.appears_whole(folder / NEWEST, keep_as=folder / PREVIOUS) as temporary:
        np.savez(temporary, sha256=np.array(_digest(arrays)), **arrays)


def restore(folder, model, also=()):
    """Puts the values of the newest whole checkpoint into `model`, its optimizer and `also`.

    Where the newest is damaged, the one before is used, and a line says so.

    Returns:
        `(epochs_done, state)`, or `(0, None)` where there is no checkpoint.

    Raises:
        UserError: No checkpoint is whole, or they belong to another model.
    """
    folder = pathlib.Path(folder)
    problems = []
    for path in (folder / NEWEST, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            header, values = _read(path)
        except Exception as error:  # zipfile and NumPy have many kinds for a damaged file
            problems.append(f"{path} is damaged ({error})")
            continue
        if problems:
            print(f"{problems[0]}: going back to the checkpoint before it, {path}")
            os.replace(folder / NEWEST, folder / DAMAGED)  # never to take the place of a whole one
        _assign(_variables(model, also), path, header["names"], values)
        return header["epochs_done"], header["state"]
    if problems:
        raise UserError(
            f"{'; '.join(problems)}; delete {folder}, and history.csv and model.keras next to it, "
            "to start again."
        )
    return 0, None


def check_lost(run, every, epochs):
    """Says that a run without a checkpoint starts again; refuses where one must have been there.

    The first is written after the history of its epoch, so that a run may be killed between them.

    Args:
        run: `RunDirectory` of a run that was begun.
        every: Epochs between checkpoints.
        epochs: Epochs of the whole run.

    Raises:
        UserError: The history goes on after the first checkpoint, or the model was saved.
    """
    history = run.path("history.csv")
    rows = max(0, history.read_bytes().count(b"\n") - 1) if history.exists() else 0
    trained = counted(rows, "epoch")
    if rows > min(every, epochs) or run.path("model.keras").exists():
        raise UserError(
            f"--resume: {run.folder} has a history of {trained}, but {run.path('checkpoint')} "
            f"holds no {NEWEST} to go on from: copy that folder here from where the run was "
            "trained, or delete history.csv and model.keras to train again from the first epoch."
        )
    lost = f", {trained} of the history are trained again" if rows else ""
    print(f"no checkpoint in {run.folder}: starting again{lost}")


def newest_in_words(folder):
    """A sentence on the newest checkpoint, for the error of a training that can't go on."""
    path = pathlib.Path(folder, NEWEST)
    if not path.exists():
        return "There is no checkpoint yet."
    try:
        with np.load(path, allow_pickle=False) as file:
            header = header_of(file)
    except Exception:  # zipfile and NumPy have many kinds for a damaged file
        return f"The last checkpoint is {path}, which can't be read."
    return f"The last good checkpoint is of epoch {header['epochs_done']}: {path}"


def _read(path):
    """Header and values of a checkpoint; raises unless it is whole."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    if str(arrays.pop("sha256")) != _digest(arrays):
        raise ValueError("its content does not match its checksum")
    header = header_of(arrays)
    return header, [arrays[f"variable_{i}"] for i in range(len(header["names"]))]


def _digest(arrays):
    """SHA-256 of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {arrays[name].shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _assign(variables, path, names, values):
    shapes = [tuple(v.shape) for v in variables]
    if names != [v.name for v in variables] or shapes != [v.shape for v in values]:
        raise UserError(
            f"{path} holds the variables of another model; choose another --output_dir."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _variables(model, also):
    return [*model.variables, *model.optimizer.variables, *also]
