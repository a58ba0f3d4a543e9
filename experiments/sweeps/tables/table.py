"""What a table is: a value that the sweep, the document and the report ask."""

import dataclasses
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Option:
    """A flag of experiments.sweep that one table alone has: a whole number of at least 1, or words.

    Attributes:
        name: Name of the flag; None is its default.
        help: What `--help` says.
        is_list: Whether it is a list of words.
    """

    name: str
    help: str
    is_list: bool = False


def _nothing(settings):
    """No paper has figures for these settings."""
    del settings


def _everything(settings):
    """What is reported is of any data."""
    del settings
    return True


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of many runs.

    Attributes:
        name: The value of `--table`.
        title: What its document is headed with.
        document: File name of the document.
        help: What `--help` says of it.
        varies: Flags of experiments.train that it sets itself.
        heading: What the labels of the rows are.
        cells: Function of `(settings, options)`: the settings that all cells share and a dict of
            the table's own options, None where not given. It gives `(row, column, own settings)`
            of each cell, and after them what `cells.Cell` has as `first`, `posthoc` and `by_row`.
        claims: Function of a `cells.Outcome` that gives sentences on its accuracies.
        choices: Function of a `cells.Outcome` that gives `(group, what, places)` of each best that
            is to be named, as `claims.chosen_in_words` takes them; None where none is.
        published: Function of the settings of a cell that returns the accuracy in the paper, or
            None where the paper has none for them.
        options: Tuple of `Option`.
        differs: Settings that are the same in all cells but second stages and those with the
            strong recipe, which have their own.
        figures: Dict of figures to their headings, for a table with a column for each of them;
            empty for one table a figure, whose columns are the cells' own.
        reported: Dict of row to what the field reports there in %, a text or None, next to the
            figures.
        is_reported_on: Function of the settings of a cell: whether its data are those that
            `reported` is of.
    """

    name: str
    title: str
    document: str
    help: str
    varies: tuple[str, ...]
    heading: str
    cells: Callable[..., Any]
    claims: Callable[..., Any]
    choices: Callable[..., Any] | None = None
    published: Callable[..., Any] = _nothing
    options: tuple[Option, ...] = ()
    figures: dict[str, str] = dataclasses.field(default_factory=dict)
    reported: dict[str, str | None] = dataclasses.field(default_factory=dict)
    differs: tuple[str, ...] = ()
    is_reported_on: Callable[..., bool] = _everything
