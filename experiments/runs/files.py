"""The files of a run directory, opened and checked for every program that reads them."""

import csv
import json

from experiments.runs import schema
from experiments.runs.schema import SHOT_FIGURES, DamagedError

__all__ = [
    "SHOT_FIGURES",
    "DamagedError",
    "OtherImagesError",
    "is_ours",
    "read_begun",
    "read_config",
    "read_history",
    "read_metrics",
    "read_posthoc",
]


class OtherImagesError(DamagedError):
    """Figures are not of the images that the run was measured on."""


def read_begun(path):
    """`config.json` of a run that is to be continued: a dict with a dict of `flags`.

    The rest is written again, so that an older version, or a begun run, may lack it.

    Raises:
        DamagedError: It is absent, not valid JSON, or was not written by experiments.train.
    """
    config = _json(path)
    schema.check_begun(config)
    return config


def read_config(path):
    """`config.json` as a dict; what an older run did not record is null or empty.

    Raises:
        DamagedError: It is absent, not valid JSON, or not as experiments.train writes it.
    """
    config = _json(path)
    schema.check_config(config)
    return config


def is_ours(path):
    """Whether a file is a `config.json` of experiments.train, even a damaged one."""
    try:
        return bool(read_begun(path))
    except DamagedError:
        return False


def read_metrics(path, config):
    """`metrics.json` as a dict; null where nothing was measured.

    Args:
        path: The file.
        config: What `read_config` gives for the same run.

    Raises:
        DamagedError: It is absent, not valid JSON, not as experiments.train writes it, or its
            figures are not those of its confusion matrix.
    """
    metrics = _json(path)
    schema.check_metrics(metrics, config)
    return metrics


def read_posthoc(path, config):
    """Figures of a run's network after something was done to it, as `read_metrics`.

    Raises:
        DamagedError: As there, or they do not say what was done.
        OtherImagesError: They are of other images than those that the run was measured on.
    """
    metrics = read_metrics(path, config)
    schema.check_posthoc(path.name, metrics.get("posthoc"))
    measured, data = metrics.get("test_data"), config.get("data") or {}
    own = data.get("test") or {}
    if isinstance(measured, dict) and any(measured.get(name) != own[name] for name in own):
        raise OtherImagesError(f"{path.name} was measured on other images than the run")
    return metrics


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
    return schema.number(float(text)) if text else None


def _json(path):
    if not path.is_file():  # a pipe would be waited for
        raise DamagedError(f"{path.name} is missing")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path.name} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise DamagedError(f"{path.name} was not written by experiments.train")
    return content
