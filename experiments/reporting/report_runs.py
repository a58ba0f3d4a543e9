"""The runs that a report is about, found below a folder and checked."""

import dataclasses
import os
import pathlib

from experiments.runs import data_record, directory
from experiments.runs.files import (
    SHOT_FIGURES,
    DamagedError,
    is_ours,
    read_config,
    read_history,
    read_metrics,
)

FIGURES = ("accuracy", "balanced_accuracy", *SHOT_FIGURES)
_FILES = ("config.json", "metrics.json", "history.csv")
_OF_METHOD = ("loss", "cb_power", "gamma", "seed")
# On the figures: the fused op computes the same; what balanced_lr_decay does is in `resolved`.
_WITHOUT_EFFECT = ("fused_op", "eval_batch_size", "balanced_lr_decay")
_CURVES = ("loss", "val_accuracy")


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run; `name` is its directory below the one that was searched."""

    name: str
    config: dict
    metrics: dict
    history: list

    @property
    def flags(self):
        """The settings as they were given."""
        return self.config["flags"]

    @property
    def loss(self):
        """Name of the loss, with gamma where that has a meaning."""
        name = self.flags["loss"]
        return f"{name}, gamma {self.flags['gamma']:g}" if name == "focal" else name

    @property
    def settings(self):
        """What else makes the run what it is, as it took effect: all but loss, power and seed."""
        resolved = self.config["resolved"]
        settings = {
            name: resolved.get(name, value)
            for name, value in self.flags.items()
            if name not in (*_OF_METHOD, *_WITHOUT_EFFECT)
        }
        data = self.config["data"]
        return {
            **settings,
            **({"data": data_record.label(data)} if data else {}),
            "train_epochs": self.metrics["epochs"],
            "class_counts": self.config["class_counts"],
            "class_names": self.config["class_names"],
            "shot_rule": self.config.get("shot_rule"),
        }


@dataclasses.dataclass(frozen=True)
class Found:
    """All run directories: the finished, `(name, epochs, of)` of the others, `(name, reason)`."""

    runs: list
    unfinished: list
    damaged: list


def find(root):
    """Reads every run directory at or below `root`, also those inside others and behind links.

    A run directory holds a `config.json` of ours, or two of a run's three files: a single one may
    be a copy, or another program's. Folders whose names begin with a dot are not searched.

    Args:
        root: An existing folder.

    Returns:
        `Found`, in the order of the names.
    """
    found = Found([], [], [])

    def unreadable(error):
        folder = pathlib.Path(error.filename)
        found.damaged.append((_name(folder, root), f"can't be read: {error.strerror}"))

    for folder, folders, files in _walk(root, unreadable):
        if _is_run(folder, files):
            folders[:] = [name for name in folders if name not in directory.OWN_FOLDERS]
            _add(found, folder, _name(folder, root))
    for entries in (found.unfinished, found.damaged):
        entries.sort()
    found.runs.sort(key=lambda run: run.name)
    return found


def _walk(root, unreadable):
    """As `os.walk`, into links too, but every folder once; hidden ones are left out.

    Links come last, so that a folder has the name that it has without them. A link to a folder
    that `root` is in leads back here, and is not followed.
    """
    seen = {str(folder) for folder in pathlib.Path(root).resolve().parents}
    starts = [root]
    for start in starts:
        for name, folders, files in os.walk(start, onerror=unreadable):
            folder, real = pathlib.Path(name), os.path.realpath(name)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            yield folder, folders, files
            starts += [folder / name for name in folders if (folder / name).is_symlink()]


def _is_run(folder, files):
    if len(set(files) & set(_FILES)) > 1:
        return True
    try:
        return "config.json" in files and is_ours(folder / "config.json")
    except OSError:
        return True  # and why it can't be read will be told


def _name(folder, root):
    relative = pathlib.Path(folder).relative_to(root)
    return relative.as_posix() if relative.parts else pathlib.Path(root).absolute().name


def _add(found, folder, name):
    try:
        config = read_config(folder / "config.json")
        finished = (folder / "metrics.json").exists()
        history = read_history(folder / "history.csv", _CURVES, required=finished)
        if not finished:
            found.unfinished.append((name, len(history), config["flags"].get("train_epochs")))
            return
        metrics = read_metrics(folder / "metrics.json", config)
        found.runs.append(Run(name, config, metrics, history))
    except DamagedError as error:
        found.damaged.append((name, str(error)))
    except OSError as error:
        file = pathlib.Path(error.filename or folder).name
        found.damaged.append((name, f"{file} can't be read: {error.strerror}"))
