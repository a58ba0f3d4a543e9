"""Data sets by name: adding a source is a file and a line in `SOURCES`.

Names and what `--help` says are there without TensorFlow and without the data.
"""

from experiments.datasets import digits, folder, npz, tfds
from experiments.datasets.class_names import test_split_for
from experiments.datasets.data import Data, Split
from experiments.datasets.long_tail import cut_long_tail
from experiments.datasets.source import Source
from experiments.datasets.split import hold_out

__all__ = [
    "NAMES",
    "SOURCES",
    "Data",
    "Source",
    "Split",
    "canonical",
    "check_name",
    "choices_of",
    "cut_long_tail",
    "default_long_tail",
    "full_name",
    "hold_out",
    "load",
    "needs",
    "test_split_for",
]

SOURCES = (tfds.CIFAR, digits.SOURCE, tfds.ANY, folder.SOURCE, npz.SOURCE)


def _listed(entries):
    *first, last = entries
    return f"{', '.join(first)}, or {last}"


# For --help.
NAMES = _listed(f"{source.names} {source.title}".strip() for source in SOURCES)


def check_name(name):
    """Raises ValueError unless `name` is a data set that `load` knows."""
    _source(name).check(name)


def canonical(name):
    """The name that is the same everywhere, such as with an absolute path; unknown ones as is."""
    known = (source.canonical(name) for source in SOURCES if source.accepts(name))
    return next(known, name)


def choices_of(name):
    """Names of the `choices` that `load` takes with a data set, a tuple."""
    return _source(name).choices


def load(name, data_dir=None, download=False, choices=None):
    """Reads a data set.

    Args:
        name: Its name, as one of `SOURCES` accepts it.
        data_dir: Folder of prepared data; None for the default of the source.
        download: Whether what is absent may be downloaded and prepared.
        choices: Dict of how it is read: `image_size`, `channels`, `test_fraction`, `split_seed`;
            None or left out for what the source does by itself, and not heeded by a source that
            does not have it.

    Returns:
        `Data`.

    Raises:
        UserError: The data is absent, or not what experiments.train can train on.
        ValueError: No source accepts the name.
    """
    source = _source(name)
    given = {key: value for key, value in (choices or {}).items() if value is not None}
    own = {key: value for key, value in given.items() if key in source.choices}
    return source.load(name, data_dir, download, **own)


def full_name(name, data_dir=None):
    """The `Data.name` of what `load` would read now; None where nothing is prepared."""
    return _source(name).full_name(name, data_dir)


def needs(name):
    """Names of the packages that a data set is read with; none of an unknown name."""
    known = (source.needs for source in SOURCES if source.accepts(name))
    return next(known, ())


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
