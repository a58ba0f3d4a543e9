"""The table of a grid: every combination of the values of a user's own choice of flags."""

import itertools

from experiments import backbones
from experiments.runs import naming
from experiments.sweeps.claims import chosen_in_words
from experiments.sweeps.tables.table import Table

DOCUMENT = "grid.md"


def table(axes):
    """The `Table` of a grid.

    One flag gives a row for each value; two give rows and columns; of more, a row is a combination
    of all but the last, which gives the columns.

    Args:
        axes: Dict of flag to tuple of its values, in the order of the user.
    """
    *outer, last = axes if len(axes) > 1 else (*axes, None)

    def label(own):
        return ", ".join(f"{name} {naming.exact(value)}" for name, value in own.items())

    def cells(settings, options):
        del options
        for values in itertools.product(*(axes[name] for name in outer)):
            own = dict(zip(outer, values, strict=True))
            # A single flag is the heading of the rows.
            row = label(own) if len(outer) > 1 else naming.exact(values[0])
            if last is None:
                yield row, settings["dataset"], _effective(own)
            for value in axes.get(last, ()):
                yield row, label({last: value}), _effective({**own, last: value})

    def choices(outcome):
        places = {}
        for row, column in itertools.product(outcome.rows, outcome.columns):
            own = outcome.cells[outcome.at(row, column)[0]].settings
            name = label({flag: own[flag] for flag in axes})
            places[name] = row, column
        yield outcome.cells[0].settings["dataset"], "cell", places

    def claims(outcome):
        for choice in choices(outcome):
            yield chosen_in_words(outcome, *choice)
        if len(outcome.metrics) == len(outcome.cells) and outcome.chosen_by == "accuracy":
            yield "It is the best on the test set itself: new seeds of it are likely to do worse."

    return Table(
        name="grid",
        title=f"Grid of {' and '.join(axes)}",
        document=DOCUMENT,
        help="",
        varies=tuple(axes),
        heading=outer[0] if len(outer) == 1 else "",
        cells=cells,
        claims=claims,
        choices=choices,
    )


def _effective(own):
    """The settings of a cell; the depth that all cells share has no effect on some networks."""
    if "backbone" in own and "depth" not in own:
        return {**own, **backbones.without_effect(own)}
    return own
