"""The best cell of a table by held-out images, trained again on all training images."""

import dataclasses
import os

from experiments.runs import directory
from experiments.runs.figures import Statistic
from experiments.sweeps import jobs, results
from experiments.sweeps.claims import chosen
from experiments.training import flags as train_flags

FOLDER = "chosen"  # in that of the sweep
_MOST_NAMED = 5  # classes
_FIGURES = {"accuracy": "accuracy", "balanced_accuracy": "balanced", "few_accuracy": "few"}


def problems(table, settings):
    """Why `--retrain` can't be given, a line each.

    Args:
        table: `tables.Table`.
        settings: Those that all cells share.
    """
    if table.choices is None:
        yield (
            f"--retrain has no effect on --table={table.name}, of which no best is chosen; it "
            "belongs to --grid, --table=power and --table=parameters."
        )
    if settings.get("first_stage"):
        yield (
            "--retrain can't be given with --first_stage, whose held-out images a second stage "
            "shares; leave one of them out."
        )
    if not settings["validation_fraction"]:
        yield (
            "--retrain trains the cell again that is best on held-out images: hold some out, "
            "--validation_fraction=0.1."
        )


class Again:
    """The trainings of the best cells on all training images, one a seed.

    Args:
        outcome: `cells.Outcome`, all of its cells finished.
        folder: Folder of the sweep, as the user gave it.
        varied: Flags that the cells of a grid differ in.

    Attributes:
        cells: List of `cells.Cell`, those that they begin with before them.
        jobs: List of `jobs.Job`, one a cell.
    """

    def __init__(self, outcome, folder, varied):
        self._names, self.cells = [], []
        for group, what, places in outcome.table.choices(outcome):
            best = chosen(outcome, places)
            for i in outcome.at(*places[best]):
                cell = _of_all_images(outcome.cells[i])
                if cell.first:
                    self._add_first(outcome, cell)
                self.cells.append(cell)
                self._names.append(f"{group}, {what} {best}")
        self.jobs = jobs.of_cells(self.cells, os.path.join(folder, FOLDER), varied)
        defaults = train_flags.protocol_defaults()  # of flags that an older run did not know
        for job in self.jobs:
            if job.is_complete():
                theirs = {**defaults, **directory.read_config(job.folder)["flags"]}
                results.refuse_others(f"--output_dir={folder}", job.folder, job.recorded(), theirs)
                job.state = "done"

    def _add_first(self, outcome, cell):
        """The run that a cell begins with, once, without a name: it is no choice."""
        seed = cell.settings["seed"]
        own = (outcome.cells[i] for i in outcome.at(cell.first, cell.column))
        first = _of_all_images(next(c for c in own if c.settings["seed"] == seed))
        if first not in self.cells:
            self.cells.append(first)
            self._names.append(None)

    def sentences(self):
        """What the finished ones reached on the test set."""
        done = [job.folder for job in self.jobs if job.is_complete()]
        found = results.read(done)
        for name in dict.fromkeys(filter(None, self._names)):
            own = [j.folder for j, n in zip(self.jobs, self._names, strict=True) if n == name]
            metrics = [found[folder].metrics for folder in own if folder in found]
            figures = [
                f"{words} {Statistic.of(m.get(figure) for m in metrics)}"
                for figure, words in _FIGURES.items()
            ]
            if metrics:
                yield (
                    f"{name}, trained again on all training images ({len(metrics)} of {len(own)} "
                    f"runs, in {FOLDER}/): {', '.join(figures)} on the test set."
                )
                if moved := _moved({folder: found[folder] for folder in own if folder in found}):
                    yield f"{name}: {_in_words(moved)}"


def _of_all_images(cell):
    return dataclasses.replace(cell, settings={**cell.settings, "validation_fraction": 0.0})


def _moved(again):
    """Dict of class to its shot groups `(here, there)` where the run of the cell has another.

    Args:
        again: Dict of run directory in `FOLDER` to `results.Run`.
    """
    cell_of = {folder: folder.parents[2] / "runs" / folder.name for folder in again}
    of_cells, moved = results.read(cell_of.values()), {}
    for folder, run in again.items():
        there = of_cells[cell_of[folder]].shot_groups
        for name, group in run.shot_groups.items():
            if group != there.get(name, group):
                moved.setdefault(name, (group, there[name]))
    return moved


def _in_words(moved):
    """That shot figures are of other classes than those of the table, and of which."""
    parts = []
    for here, there in dict.fromkeys(moved.values()):
        names = [name for name in moved if moved[name] == (here, there)]
        what = f"{len(names)} classes" if len(names) > _MOST_NAMED else ", ".join(names)
        verb = "is" if len(names) == 1 else "are"
        parts.append(f"{what} {verb} {here}-shot in {FOLDER}/, {there}-shot in the table")
    return (
        "with no images held out the classes are larger, and their shot groups are not those of "
        f"the table: {'; '.join(parts)}."
    )
