"""The files of a run directory, each written whole or not at all."""

import contextlib
import csv
import errno
import fcntl
import io
import json
import os
import pathlib
import platform
import shlex
import sys
import tempfile
import time
import weakref

from experiments.runs import data_record, run_files
from experiments.training import machine
from experiments.cli import UserError, local_path

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
}
# All that is below these is the run's: "saved_model.tmp" is the export until it is whole.
OWN_FOLDERS = (*(name for name, is_folder in _CONTENT.items() if is_folder), "saved_model.tmp")
_TEMPORARY = ".unfinished-"


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

    def read_json(self, name):
        """Content of a JSON file, or None where it is absent.

        Raises:
            UserError: It is no JSON.
        """
        path = self.path(name)
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path} is no valid JSON: {error}") from error

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
    """`config.json` of a run directory as a dict, or None where there is none.

    Raises:
        UserError: It is no JSON, or was not written by experiments.train.
    """
    run = RunDirectory(folder)
    if not run.path("config.json").exists():
        return None
    config = run.read_json("config.json")
    if not (isinstance(config, dict) and isinstance(config.get("flags"), dict)):
        raise UserError(
            f"{run.path('config.json')} was not written by experiments.train; choose another "
            "folder."
        )
    return config


def read_finished(folder):
    """`(config.json, metrics.json)` of a finished run as dicts.

    Raises:
        UserError: One of them is absent, damaged, or was not written by experiments.train.
    """
    folder = pathlib.Path(folder)
    for name in ("config.json", "metrics.json"):
        if not (folder / name).exists():
            raise UserError(f"{folder} holds no finished run (no {name}).")
    try:
        config = run_files.read_config(folder / "config.json")
        return config, run_files.read_metrics(folder / "metrics.json", config)
    except run_files.DamagedError as error:
        raise UserError(
            f"{folder} is no finished run of experiments.train ({error}); if it was one, delete "
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
        if any(not path.name.startswith(_TEMPORARY) for path in run.folder.iterdir()):
            raise UserError(
                f"--output_dir={run.folder} is not empty and holds no run; choose another folder."
            )
        if resume:
            print(f"nothing to continue in {run.folder}: starting a new run there")
        return
    theirs = {**defaults, **config["flags"]}
    if data_record.name(config) and flags.get("dataset") == data_record.name(config):
        theirs["dataset"] = flags["dataset"]  # the same data, named with their version
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


class Lock:
    """The right to write into a folder, held by one process until it ends or releases it.

    It is a lock on the folder itself (`flock`), so that a killed process leaves nothing behind.

    Args:
        folder: An existing folder.
        patience: Seconds to wait; a process that was just killed takes a moment to vanish.

    Raises:
        UserError: Another process holds it.
    """

    def __init__(self, folder, patience=5.0):
        descriptor = os.open(folder, os.O_RDONLY)
        self.release = weakref.finalize(self, os.close, descriptor)
        deadline = time.monotonic() + patience
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                self.release()
                raise UserError(
                    f"another process is at work in {folder}; wait for it, stop it, or choose "
                    "another --output_dir."
                )
            time.sleep(0.1)


def _try_lock(descriptor):
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # A file system without locks is no reason to refuse the work.
        return error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
    return True


def environment(all_gpus=True):
    """Versions, device and command line, for `config.json`.

    Args:
        all_gpus: Whether the run uses all GPUs that are there, or only the first.
    """
    import keras
    import numpy
    import tensorflow as tf

    import cb_keras

    gpus = tf.config.list_physical_devices("GPU")[: None if all_gpus else 1]
    names = [tf.config.experimental.get_device_details(g).get("device_name", "GPU") for g in gpus]
    return {
        "versions": {
            "python": platform.python_version(),
            "cb_keras": cb_keras.__version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "numpy": numpy.__version__,
        },
        "device": names or [f"CPU, {machine.cores_in_words()}, {platform.machine()}"],
        "command": shlex.join(["python", "-m", "experiments.train", *sys.argv[1:]]),
    }


@contextlib.contextmanager
def appears_whole(path, keep_as=None):
    """A temporary path beside `path` to write a file to, which then takes its place at once.

    `path` holds the old content or the new, never a part of it, whenever the process or the machine
    stops. The temporary name ends as `path` does, for writers that look at it. With `keep_as`, a
    path in the same folder, the old content stays there once the new is safe on the disk.
    """
    path = pathlib.Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_TEMPORARY, suffix=path.suffix)
    try:
        os.close(handle)
        yield pathlib.Path(name)
        with open(name, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        if keep_as and path.exists():
            os.replace(path, keep_as)
        os.replace(name, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(name)
        if isinstance(error, OSError):
            error.filename = str(path)  # a write that fails does not say where
        raise
    sync_folder(path.parent)


def write_atomically(path, content):
    """Writes bytes so that `path` holds the old content or the new, never a part of it."""
    with appears_whole(path) as temporary:
        temporary.write_bytes(content)


def sync_folder(folder):
    """Makes the names in a folder survive a power failure, as `fsync` does for content."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder):
    """Makes a folder, and all that is in it, survive a power failure."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)


def remove_temporaries(folder, below=()):
    """Deletes what a killed process was about to write; the folder must be locked.

    Args:
        folder: The folder.
        below: Names of the folders in it to be cleared to the bottom. In any other one there may
            be a run that is at work, under a lock of its own.
    """
    pattern = f"{_TEMPORARY}*"
    inside = (path for name in below for path in (folder / name).rglob(pattern))
    for path in [*folder.glob(pattern), *inside]:
        path.unlink(missing_ok=True)


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_writable(folder):
    """Makes the folder where it is absent; raises UserError unless files can be made in it.

    Returns:
        Folders that it made, the innermost first.
    """
    made = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"--output_dir={folder} can't be written ({error.strerror}); choose another folder."
        ) from error
    return made


def remove_empty(folders):
    """Removes folders, in this order, up to the first that is not empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def output_problem(path):
    """Why no file can be written at `path`, in words that begin with `--output`; None if it can."""
    try:
        path = local_path("--output", path)
        if path.is_dir():
            return f"--output={path} is a folder; name a file."
        if path.exists() and not path.is_file():
            return f"--output={path} is a device or a pipe; name a file."
        with tempfile.TemporaryFile(dir=path.resolve().parent):
            return None
    except UserError as error:
        return str(error)
    except OSError as error:
        reason = f"{path.parent}: {error.strerror}"
        return f"--output={path} can't be written ({reason}); choose another folder."


def write_output(path, content):
    """Writes bytes to the file that a user named; where that is a link, to what it points to."""
    write_atomically(local_path("--output", path).resolve(), content)
