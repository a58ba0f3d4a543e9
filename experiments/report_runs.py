"""The runs that a report is about, found below a folder and checked."""

import csv
import dataclasses
import json
import os
import pathlib

FIGURES = ("accuracy", "balanced_accuracy", "many_accuracy", "medium_accuracy", "few_accuracy")
_FILES = ("config.json", "metrics.json", "history.csv")
_OF_METHOD = ("loss", "cb_power", "gamma", "seed")
# On the figures: the fused op computes the same; what balanced_lr_decay does is in `resolved`.
_WITHOUT_EFFECT = ("fused_op", "eval_batch_size", "balanced_lr_decay")
_CURVES = ("loss", "val_accuracy")


class DamagedError(Exception):
    """Why a run directory can't be used, in words for the reader of the report."""


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
        return {
            **settings,
            "train_epochs": self.metrics["epochs"],
            "class_counts": self.config["class_counts"],
            "class_names": self.config["class_names"],
        }


@dataclasses.dataclass(frozen=True)
class Found:
    """All run directories: the finished, `(name, epochs, of)` of the others, `(name, reason)`."""

    runs: list
    unfinished: list
    damaged: list


def find(root):
    """Reads every run directory at or below `root`.

    Args:
        root: An existing folder.

    Returns:
        `Found`, in the order of the names.
    """
    found = Found([], [], [])

    def unreadable(error):
        folder = pathlib.Path(error.filename)
        found.damaged.append((_name(folder, root), f"can't be read: {error.strerror}"))

    for folder, folders, files in os.walk(root, onerror=unreadable):
        if set(files) & set(_FILES):
            folders.clear()  # what a run keeps inside is its own
            _add(found, pathlib.Path(folder), _name(folder, root))
        folders[:] = [name for name in folders if not name.startswith(".")]
    for entries in (found.unfinished, found.damaged):
        entries.sort()
    found.runs.sort(key=lambda run: run.name)
    return found


def _name(folder, root):
    relative = pathlib.Path(folder).relative_to(root)
    return relative.as_posix() if relative.parts else pathlib.Path(root).absolute().name


def _add(found, folder, name):
    try:
        config = _checked_config(_json(folder / "config.json"))
        finished = (folder / "metrics.json").exists()
        history = _history(folder / "history.csv", required=finished)
        if not finished:
            found.unfinished.append((name, len(history), config["flags"].get("train_epochs")))
            return
        metrics = _checked_metrics(_json(folder / "metrics.json"), len(config["class_counts"]))
        found.runs.append(Run(name, config, metrics, history))
    except DamagedError as error:
        found.damaged.append((name, str(error)))
    except OSError as error:
        file = pathlib.Path(error.filename or folder).name
        found.damaged.append((name, f"{file} can't be read: {error.strerror}"))


def _json(path):
    if not path.is_file():  # a pipe would be waited for
        raise DamagedError(f"{path.name} is missing")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path.name} is no valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise DamagedError(f"{path.name} was not written by experiments.train")
    return content


def _history(path, required):
    if not path.is_file():
        if required:
            raise DamagedError(f"{path.name} is missing")
        return []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [
            {"epoch": _epoch(row["epoch"])} | {n: _point(row.get(n)) for n in _CURVES}
            for row in rows
        ]
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise DamagedError(f"{path.name} can't be understood ({error})") from error


def _epoch(text):
    if not 0 < int(text) < 1e9:
        raise ValueError(f"there is no epoch {text}")
    return int(text)


def _point(text):
    """A number to draw, or None where there is none, as in the last epoch of a diverged run."""
    value = float(text) if text else None
    return value if _is_number(value) else None


def _checked_config(config):
    flags = config.get("flags")
    config.setdefault("resolved", {})
    config.setdefault("versions", {})
    counts, names = config.get("class_counts"), config.get("class_names")
    _require("config.json", "flags", isinstance(flags, dict))
    for name in ("loss", "dataset"):
        _require("config.json", f"flags.{name}", isinstance(flags.get(name), str))
    for name in ("cb_power", "gamma", "imbalance_factor", "seed"):
        _require("config.json", f"flags.{name}", _is_number(flags.get(name)))
    for name in ("resolved", "versions"):
        _require("config.json", name, isinstance(config[name], dict))
    _require("config.json", "class_counts", _are_numbers(counts, low=0) and len(counts) > 0)
    of_classes = "one for each of class_counts"
    weights = config.get("class_weights")
    _require("config.json", "class_weights", _are_numbers(weights, len(counts)), of_classes)
    right = isinstance(names, list) and len(names) == len(counts)
    right = right and all(isinstance(name, str) for name in names)
    _require("config.json", "class_names", right, of_classes)
    return config


def _checked_metrics(metrics, classes):
    for name in FIGURES:
        value = metrics.setdefault(name, None)
        _require("metrics.json", name, value is None or _is_number(value, 0, 1), "0 to 1 or null")
    _require("metrics.json", "epochs", _is_number(metrics.get("epochs")))
    accuracies, confusion = metrics.get("per_class_accuracy"), metrics.get("confusion_matrix")
    right = isinstance(accuracies, list) and len(accuracies) == classes
    right = right and all(a is None or _is_number(a, 0, 1) for a in accuracies)
    _require("metrics.json", "per_class_accuracy", right, f"{classes} of 0 to 1 or null")
    right = isinstance(confusion, list) and len(confusion) == classes
    right = right and all(_are_numbers(row, classes, low=0) for row in confusion)
    _require("metrics.json", "confusion_matrix", right, f"{classes} x {classes} counts")
    for name in ("images_per_second", "train_seconds"):
        value = metrics.setdefault(name, None)
        _require("metrics.json", name, value is None or _is_number(value, 0), "a number or null")
    return metrics


def _require(file, name, right, expected="as experiments.train writes it"):
    if not right:
        raise DamagedError(f"{file}: `{name}` is missing or not {expected}")


def _is_number(value, low=-1e300, high=1e300):
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _are_numbers(values, length=None, low=-1e300):
    if not isinstance(values, list) or length not in (None, len(values)):
        return False
    return all(_is_number(value, low) for value in values)
