"""The files of a run directory, each written whole or not at all."""

import contextlib
import csv
import io
import json
import os
import pathlib
import platform
import shlex
import sys
import tempfile

import keras

from experiments.cli import UserError

HISTORY_COLUMNS = (
    "epoch",
    "loss",
    "accuracy",
    "balanced_accuracy",
    "val_loss",
    "val_accuracy",
    "val_balanced_accuracy",
    "learning_rate",
    "images_per_second",
    "train_seconds",
)


class RunDirectory:
    """Paths and files of one run.

    Args:
        folder: The run directory.

    Attributes:
        folder: The run directory, a `pathlib.Path`.
        history: List of the rows of `history.csv`, one dict an epoch.
    """

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.history = []

    def path(self, name):
        """Path of a file of the run."""
        return self.folder / name

    def read_json(self, name):
        """Content of a JSON file, or None where it is absent."""
        path = self.path(name)
        return json.loads(path.read_text()) if path.exists() else None

    def write_json(self, name, content):
        """Writes a JSON file."""
        text = json.dumps(content, indent=2, allow_nan=False)
        write_atomically(self.path(name), (text + "\n").encode())

    def add_epoch(self, row):
        """Adds a row to `history.csv`."""
        self.history.append(row)
        text = io.StringIO()
        writer = csv.DictWriter(text, HISTORY_COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        write_atomically(self.path("history.csv"), text.getvalue().encode())


def open_run(output_dir, flags, resume):
    """Opens a run directory, after making sure that it can be written and is this run's.

    Args:
        output_dir: The folder; made if absent.
        flags: The settings that make the run what it is, a JSON-able dict.
        resume: Whether a run that was begun here is to be continued.

    Returns:
        `RunDirectory`.

    Raises:
        UserError: The folder can't be written, holds something else, a run with other settings,
            or a begun run without `resume`.
    """
    run = RunDirectory(output_dir)
    _check_writable(run.folder)
    try:
        config = run.read_json("config.json")
    except ValueError as error:
        raise UserError(f"{run.path('config.json')} is no valid JSON: {error}") from error
    if config is not None and not (
        isinstance(config, dict) and isinstance(config.get("flags"), dict)
    ):
        raise UserError(
            f"{run.path('config.json')} was not written by experiments.train; choose another "
            "folder."
        )
    if config is None:
        if any(run.folder.iterdir()):
            raise UserError(
                f"--output_dir={run.folder} is not empty and holds no run; choose another folder."
            )
        if resume:
            print(f"nothing to continue in {run.folder}: starting a new run there")
        return run
    flags, theirs = json.loads(json.dumps(flags)), config["flags"]
    different = [
        f"--{name} is {theirs.get(name)} there, {flags.get(name)} here"
        for name in sorted({*flags, *theirs})
        if flags.get(name) != theirs.get(name)
    ]
    if different:
        raise UserError(
            f"--output_dir={run.folder} holds a run of another configuration "
            f"({'; '.join(different)}); choose another folder."
        )
    if not resume:
        raise UserError(
            f"--output_dir={run.folder} already holds this run; add --resume to continue it, "
            "choose another folder, or delete it."
        )
    return run


def environment():
    """Versions, device and command line, for `config.json`."""
    import numpy
    import tensorflow as tf

    import cb_keras

    gpus = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(g).get("device_name", "GPU") for g in gpus]
    return {
        "versions": {
            "python": platform.python_version(),
            "cb_keras": cb_keras.__version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "numpy": numpy.__version__,
        },
        "device": names or [f"CPU, {os.cpu_count()} cores, {platform.machine()}"],
        "command": shlex.join(["python", "-m", "experiments.train", *sys.argv[1:]]),
    }


class HistoryWriter(keras.callbacks.Callback):
    """Adds each epoch to `history.csv`.

    Args:
        run: `RunDirectory`.
        progress: `cb_keras.callbacks.ThroughputProgress`, which must come before this callback.
        learning_rate: Function of the epoch: the rate of its last step.
    """

    def __init__(self, run, progress, learning_rate):
        super().__init__()
        self.run = run
        self.progress = progress
        self.learning_rate = learning_rate

    def on_epoch_end(self, epoch, logs=None):
        """Adds the row."""
        self.run.add_epoch(
            {
                "epoch": epoch + 1,
                **{key: float(value) for key, value in (logs or {}).items()},
                "learning_rate": float(self.learning_rate(epoch)),
                "images_per_second": self.progress.epoch_rate,
                "train_seconds": self.progress.train_seconds,
            }
        )


def write_atomically(path, content):
    """Writes bytes so that `path` holds the old content or the new, never a part of it."""
    path = pathlib.Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _check_writable(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"--output_dir={folder} can't be written ({error.strerror}); choose another folder."
        ) from error
