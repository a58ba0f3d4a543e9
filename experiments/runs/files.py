"""What the files of a run directory must hold, for every program that reads finished runs."""

import csv
import json



SHOT_FIGURES = ("many_accuracy", "medium_accuracy", "few_accuracy")


_ROUNDING = 1e-6


class DamagedError(Exception):
    """Why a run directory can't be used, in words for its user."""


def read_config(path):
    """`config.json` as a dict.

    Raises:
        DamagedError: It is absent, no JSON, or not as experiments.train writes it.
    """
    config = _json(path)
    flags = config.get("flags")
    config.setdefault("resolved", {})
    config.setdefault("versions", {})
    data = config.setdefault("data", None)  # older runs did not record it
    _require("config.json", "data", data is None or isinstance(data, dict))
    counts, names = config.get("class_counts"), config.get("class_names")
    _require("config.json", "flags", isinstance(flags, dict))
    for name in ("loss", "dataset"):
        _require("config.json", f"flags.{name}", isinstance(flags.get(name), str))
    for name in ("cb_power", "gamma", "imbalance_factor", "seed"):
        _require("config.json", f"flags.{name}", _is_number(flags.get(name)))
    for name in ("resolved", "versions"):
        _require("config.json", name, isinstance(config[name], dict))
    right = _are_numbers(counts, low=0) and len(counts) > 0 and all(n % 1 == 0 for n in counts)
    _require("config.json", "class_counts", right)
    of_classes = "one for each of class_counts"
    weights = config.get("class_weights")
    _require("config.json", "class_weights", _are_numbers(weights, len(counts)), of_classes)
    right = isinstance(names, list) and len(names) == len(counts)
    right = right and all(isinstance(name, str) for name in names)
    _require("config.json", "class_names", right, of_classes)
    sessions = config.setdefault("sessions", [])  # older runs did not record them
    right = isinstance(sessions, list) and all(isinstance(s, dict) for s in sessions)
    _require("config.json", "sessions", right)
    groups = config.setdefault("shot_groups", {})
    right = isinstance(groups, dict) and set(groups) <= {"many", "medium", "few"}
    right = right and all(
        isinstance(ids, list) and all(type(c) is int and 0 <= c < len(counts) for c in ids)
        for ids in groups.values()
    )
    _require("config.json", "shot_groups", right)
    return config


def is_ours(path):
    """Whether a file is a `config.json` of experiments.train, be it a damaged one."""
    try:
        return isinstance(_json(path).get("flags"), dict)
    except DamagedError:
        return False


def read_metrics(path, config):
    """`metrics.json` as a dict; null where nothing was measured.

    Args:
        path: The file.
        config: What `read_config` gives for the same run. The shot groups are those that it
            recorded: older runs cut them by older rules.

    Raises:
        DamagedError: It is absent, no JSON, not as experiments.train writes it, or its figures are
            not those of its confusion matrix.
    """
    metrics, classes = _json(path), len(config["class_counts"])
    groups = config["shot_groups"].items()
    groups = {name: ids for name, ids in groups if f"{name}_accuracy" in metrics}
    for name in ("accuracy", "balanced_accuracy"):
        _require("metrics.json", name, _is_number(metrics.get(name), 0, 1), "0 to 1")
    for name in SHOT_FIGURES:
        value = metrics.setdefault(name, None)
        _require("metrics.json", name, value is None or _is_number(value, 0, 1), "0 to 1 or null")
    for name in ("epochs", "train_seconds"):
        _require("metrics.json", name, _is_number(metrics.get(name), 0), "a number")
    value = metrics.setdefault("images_per_second", None)
    right = value is None or _is_number(value, 0)
    _require("metrics.json", "images_per_second", right, "a number or null")
    accuracies, confusion = metrics.get("per_class_accuracy"), metrics.get("confusion_matrix")
    right = isinstance(accuracies, list) and len(accuracies) == classes
    right = right and all(a is None or _is_number(a, 0, 1) for a in accuracies)
    _require("metrics.json", "per_class_accuracy", right, f"{classes} of 0 to 1 or null")
    right = isinstance(confusion, list) and len(confusion) == classes
    right = right and all(_are_numbers(row, classes, low=0) for row in confusion)
    _require("metrics.json", "confusion_matrix", right, f"{classes} x {classes} counts")
    _check_figures(metrics, groups)
    return metrics


def _check_figures(metrics, groups):
    """Raises DamagedError where a figure does not follow from the confusion matrix."""
    confusion = metrics["confusion_matrix"]
    images = [sum(row) for row in confusion]
    right = [row[c] for c, row in enumerate(confusion)]
    _require("metrics.json", "confusion_matrix", sum(images) > 0, "of one test image at least")
    recalls = [r / n if n else None for r, n in zip(right, images, strict=True)]
    expected = {
        "accuracy": sum(right) / sum(images),
        "balanced_accuracy": _mean(recalls),
        **{f"per_class_accuracy[{c}]": recall for c, recall in enumerate(recalls)},
        **{f"{name}_accuracy": _mean([recalls[c] for c in ids]) for name, ids in groups.items()},
    }
    accuracies = enumerate(metrics["per_class_accuracy"])
    told = metrics | {f"per_class_accuracy[{c}]": accuracy for c, accuracy in accuracies}
    for name, value in expected.items():
        if not _alike(told[name], value):
            raise DamagedError(
                f"metrics.json: `{name}` is {_text(told[name])}, but its confusion_matrix gives "
                f"{_text(value)}"
            )


def _mean(values):
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


def _alike(told, value):
    if told is None or value is None:
        return told is value
    return abs(told - value) <= _ROUNDING


def _text(value):
    return "null" if value is None else f"{value:.6g}"


def read_history(path, columns, required=True):
    """Rows of `history.csv`: dicts of `epoch` and of a number or None for each of the columns.

    Raises:
        DamagedError: It can't be understood, or is absent and `required`.
    """
    if not path.is_file():
        if required:
            raise DamagedError(f"{path.name} is missing")
        return []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [
            {"epoch": _epoch(row["epoch"])} | {n: _point(row.get(n)) for n in columns}
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


def _require(file, name, right, expected="as experiments.train writes it"):
    if not right:
        raise DamagedError(f"{file}: `{name}` is missing or not {expected}")


def _is_number(value, low=-1e300, high=1e300):
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _are_numbers(values, length=None, low=-1e300):
    if not isinstance(values, list) or length not in (None, len(values)):
        return False
    return all(_is_number(value, low) for value in values)
