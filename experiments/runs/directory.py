"""A run directory that is made, held and continued."""

import csv
import io
import json
import pathlib

from experiments.cli import UserError
from experiments.runs import data_record, files, naming, schema
from experiments.runs.atomic import TEMPORARY, remove_temporaries, write_atomically
from experiments.runs.lock import Lock
from experiments.runs.outputs import check_writable, remove_empty

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
# What a run makes in its folder, and whether it is a folder itself.
_CONTENT = {
    **dict.fromkeys(("checkpoint", "plots", "saved_model", "tensorboard"), True),
    **dict.fromkeys(("config.json", "history.csv", "metrics.json", "model.keras"), False),
    "training_images.npy": False,
}
# All that is below these is the run's: "saved_model.tmp" is the export until it is whole.
OWN_FOLDERS = (*(name for name, is_folder in _CONTENT.items() if is_folder), "saved_model.tmp")


class RunDirectory:
    """Paths and files of one run; a context manager where it is held by `open_run`.

    Args:
        folder: The run directory.
        lock: `Lock` of the folder, released with this object; None for reading only.
        made: Folders made for it; removed where it ends with an error and nothing was written.

    Attributes:
        folder: The run directory, a `pathlib.Path`.
        history: List of the rows of `history.csv`, one dict an epoch.
    """

    def __init__(self, folder, lock=None, made=()):
        self.folder = pathlib.Path(folder)
        self.history = []
        self._lock = lock
        self._made = made

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if any(exception):
            remove_empty(self._made)
        if self._lock:
            self._lock.release()

    def path(self, name):
        """Path of a file of the run."""
        return self.folder / name

    def write_json(self, name, content):
        """Writes a JSON file."""
        text = json.dumps(content, indent=2, allow_nan=False)
        self.write(name, (text + "\n").encode())

    def write(self, name, content):
        """Writes the bytes of a file, which appears when it is whole."""
        write_atomically(self.path(name), content)

    def add_epoch(self, row):
        """Adds a row to `history.csv`."""
        self.history.append(row)
        text = io.StringIO()
        writer = csv.DictWriter(text, HISTORY_COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        write_atomically(self.path("history.csv"), text.getvalue().encode())


def open_run(output_dir, flags, resume, defaults=None):
    """Opens a run directory, after making sure that it can be written and is this run's.

    Args:
        output_dir: The folder; made if absent.
        flags: The settings that make the run what it is, a JSON-able dict.
        resume: Whether a run that was begun here is to be continued.
        defaults: Values that an older run had of settings which it did not record yet.

    Returns:
        `RunDirectory`.

    Raises:
        UserError: The folder can't be written, holds something else, a run with other settings,
            a begun run without `resume`, or another process is at work in it.
    """
    folder = pathlib.Path(output_dir)
    made = check_writable(folder)
    run = RunDirectory(folder, Lock(folder), made)
    try:
        _check_content(run, flags, resume, defaults or {})
        _check_inside(folder)
    except BaseException:
        run.__exit__()
        raise
    remove_temporaries(folder, OWN_FOLDERS)
    return run


def _check_inside(folder):
    """Raises UserError where something in the folder would stop the run when it gets there."""
    for name, is_folder in _CONTENT.items():
        path = folder / name
        if path.exists() and path.is_dir() != is_folder:
            wrong = "is not a folder" if is_folder else "is a folder"
            raise UserError(f"{path} {wrong}; a run puts its own there: move it away.")
        if path.is_dir():
            for below in (path, *(inside for inside in path.rglob("*") if inside.is_dir())):
                check_writable(below)


def read_config(folder):
    """`config.json` of a run that was begun, of any version; None where there is none.

    Returns:
        Dict whose `flags` are a dict; nothing else in it is checked.

    Raises:
        UserError: It is not valid JSON, or was not written by experiments.train.
    """
    path = pathlib.Path(folder, schema.CONFIG)
    if not path.exists():
        return None
    try:
        return files.read_begun(path)
    except files.DamagedError as error:
        raise UserError(f"{path.parent}/{error}; choose another folder.") from error


def read_finished(folder):
    """`(config.json, metrics.json)` of a finished run as dicts.

    Raises:
        UserError: One of them is absent, damaged, or was not written by experiments.train.
    """
    folder = pathlib.Path(folder)
    for name in (schema.CONFIG, schema.METRICS):
        if not (folder / name).exists():
            raise UserError(f"{folder} holds no finished run (no {name}).")
    try:
        config = files.read_config(folder / schema.CONFIG)
        return config, files.read_metrics(folder / schema.METRICS, config)
    except files.DamagedError as error:
        raise UserError(
            f"{folder} is not a finished run of experiments.train ({error}); if it was one, delete "
            "its metrics.json and continue it with --resume, which evaluates it again."
        ) from error


def differences(flags, theirs):
    """Words for every setting in which a run that is there differs from the one asked for."""
    flags = json.loads(json.dumps(flags))  # as the file has them: lists for tuples
    return [
        f"--{name} is {theirs.get(name)} there, {flags.get(name)} here"
        for name in sorted({*flags, *theirs})
        if flags.get(name) != theirs.get(name)
    ]


def _check_content(run, flags, resume, defaults):
    config = read_config(run.folder)
    if config is None:
        if any(not path.name.startswith(TEMPORARY) for path in run.folder.iterdir()):
            raise UserError(
                f"--output_dir={run.folder} is not empty and holds no run; choose another folder."
            )
        if resume:
            print(f"nothing to continue in {run.folder}: starting a new run there")
        return
    theirs = {**defaults, **config["flags"]}
    if data_record.name(config) and flags.get("dataset") == data_record.name(config):
        theirs["dataset"] = flags["dataset"]  # the same data, named with their version
    if naming.is_path(theirs.get("dataset")) and naming.is_path(flags.get("dataset")):
        theirs["dataset"] = flags["dataset"]  # what is in the files is compared once it is read
    different = differences(flags, theirs)
    if different:
        raise UserError(
            f"--output_dir={run.folder} holds a run of another configuration "
            f"({'; '.join(different)}); give the flags that are there or choose another folder."
        )
    if not resume:
        raise UserError(
            f"--output_dir={run.folder} already holds this run; add --resume to continue it, "
            "choose another folder, or delete it."
        )
