"""The cells of a table, and how their finished runs stand in its rows and columns."""

import dataclasses

from experiments import methods
from experiments.runs.figures import Statistic

VALIDATION = "validation_balanced_accuracy"  # which `runs.schema` adds to metrics.json


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a table, or what was made of the network of one.

    Attributes:
        row: Label of its row in the table.
        column: Label of its column.
        settings: Settings of experiments.train; without `first_stage` where it has a `first`.
        first: Row of the run that it begins with, in its column and of its seed.
        posthoc: Flags of experiments.evaluate where it is no training, but figures of the network
            of `first` after them.
        by_row: Names of the settings of the protocol that its row chooses, in place of the flags;
            the name of its run tells them.
    """

    row: str
    column: str
    settings: dict
    first: str | None = None
    posthoc: dict | None = None
    by_row: tuple[str, ...] = ()


class Outcome:
    """The cells of a table, with the figures of those that are finished.

    Args:
        table: `tables.Table`.
        cells: List of `Cell`.
        metrics: Dict of position in `cells` to `metrics.json` of its run.

    Attributes:
        rows: Labels of the rows, in their order.
        columns: Labels of the columns, in their order.
    """

    def __init__(self, table, cells, metrics):
        self.table = table
        self.cells = cells
        self.metrics = metrics
        self.rows = list(dict.fromkeys(cell.row for cell in cells))
        self.columns = list(dict.fromkeys(cell.column for cell in cells))

    def at(self, row, column):
        """Positions of the cells there, one a seed."""
        return [i for i, c in enumerate(self.cells) if (c.row, c.column) == (row, column)]

    def at_hand(self, row, column):
        """The `metrics.json` of the cells there that are finished."""
        return [self.metrics[i] for i in self.at(row, column) if i in self.metrics]

    def of_shared_seeds(self, rows):
        """The outcome of the seeds of which all of these rows are finished, and these seeds."""
        finished = [
            {self.cells[i].settings["seed"] for i in self.metrics if self.cells[i].row == row}
            for row in rows
        ]
        seeds = sorted(set.intersection(*finished))
        kept = {i: m for i, m in self.metrics.items() if self.cells[i].settings["seed"] in seeds}
        return Outcome(self.table, self.cells, kept), seeds

    def statistic(self, row, column, figure="accuracy"):
        """`Statistic` of a figure of `metrics.json` over the seeds that are finished."""
        there = self.at_hand(row, column)
        if figure == "seconds_per_epoch":
            timed = (m for m in there if m["images_per_second"] is not None)
            return Statistic.of(m["train_seconds"] / m["epochs"] for m in timed)
        return Statistic.of(m.get(figure) for m in there)

    @property
    def chosen_by(self):
        """The figure by which a best is chosen: of held-out images, where all runs have some."""
        trained = (m for i, m in self.metrics.items() if not self.cells[i].posthoc)
        known = [m.get(VALIDATION) is not None for m in trained]
        return VALIDATION if known and all(known) else "accuracy"

    def published(self, row, column):
        """The accuracy that the table's paper has there, or None."""
        return self.table.published(self.cells[self.at(row, column)[0]].settings)


def of_table(table, settings, seeds, options=None):
    """The runs that a table is made of, all of the first seed before those of the next.

    Args:
        table: `tables.Table`.
        settings: Settings of experiments.train that all cells share.
        seeds: Seeds; every cell is run once with each.
        options: Dict of the table's own options.

    Returns:
        List of `Cell`.

    Raises:
        UserError: The settings leave the table without a part of its cells.
        ValueError: The method does not have a loss of the table; names those that it has.
    """
    shape = list(table.cells(settings, options or {}))
    return [
        Cell(row, column, {**settings, **own, "seed": seed}, *rest)
        for seed in seeds
        for row, column, own, *rest in shape
    ]


def with_loss(settings, name):
    """The settings that choose a loss; what has no effect on it has its default.

    A table's `--gamma` is for the cells that it has an effect on, and refused elsewhere.

    Raises:
        ValueError: The method does not have this loss.
    """
    method = methods.of(settings)
    effective = method.parameters_of({**settings, "loss": name})
    others = [p for loss in method.losses for p in loss.parameters if p not in effective]
    return {"loss": name, **{parameter.name: parameter.default for parameter in others}}
