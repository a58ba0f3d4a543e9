"""Data sets by name, in memory: adding a source is a file and a line in `SOURCES`.

Names and what `--help` says are there without TensorFlow and without the data.
"""

from experiments.datasets import digits, tfds
from experiments.datasets.class_names import test_split_for
from experiments.datasets.data import Data, Split
from experiments.datasets.long_tail import cut_long_tail
from experiments.datasets.source import Source

__all__ = [
    "NAMES",
    "SOURCES",
    "Data",
    "Source",
    "Split",
    "check_name",
    "cut_long_tail",
    "default_long_tail",
    "full_name",
    "load",
    "test_split_for",
]

SOURCES = (tfds.CIFAR, digits.SOURCE, tfds.ANY)


def _listed(entries):
    *first, last = entries
    return f"{', '.join(first)}, or {last}"


# For --help.
NAMES = _listed(f"{source.names} {source.title}".strip() for source in SOURCES)


def check_name(name):
    """Raises ValueError unless `name` is a data set that `load` knows."""
    _source(name)


def load(name, data_dir=None, download=False):
    """Reads a data set into memory.

    Args:
        name: Its name, as one of `SOURCES` accepts it.
        data_dir: Folder of prepared data; None for the default of the source.
        download: Whether what is absent may be downloaded and prepared.

    Returns:
        `Data`.

    Raises:
        UserError: The data is absent, or not what experiments.train can train on.
        ValueError: No source accepts the name.
    """
    return _source(name).load(name, data_dir, download)


def full_name(name, data_dir=None):
    """The `Data.name` of what `load` would read now; None where nothing is prepared."""
    return _source(name).full_name(name, data_dir)


def default_long_tail(name):
    """The `--long_tail` of a data set where nobody says; "exponential" of an unknown name."""
    known = (source.long_tail for source in SOURCES if source.accepts(name))
    return next(known, Source.long_tail)


def _source(name):
    for source in SOURCES:
        if source.accepts(name):
            return source
    known = _listed(f"{source.names} {source.form}".strip() for source in SOURCES)
    raise ValueError(f"unknown data set {name!r}; use {known}.")
