"""One training of a sweep: its run directory, its command, and how far it is."""

import dataclasses
import os
import pathlib
import sys

from experiments import cli
from experiments.runs import naming
from experiments.runs.figures import counted
from experiments.training import flags as train_flags


@dataclasses.dataclass
class Job:
    """One training.

    Attributes:
        name: Name of its run directory.
        folder: Run directory; the job is done when `metrics.json` is in it.
        log: File that its output is appended to.
        arguments: Flags of experiments.train.
        state: `waiting`, `running`, `done` or `failed`.
        attempts: How often it was started by this process.
        log_start: Bytes that were in the log before its last start.
        reason: Why its last attempt failed, one line.
    """

    name: str
    folder: pathlib.Path
    log: pathlib.Path
    arguments: list
    state: str = "waiting"
    attempts: int = 0
    log_start: int = 0
    reason: str = ""

    @property
    def command(self):
        """The command that trains, a list of words."""
        return [sys.executable, "-m", "experiments.train", *self.arguments]

    def is_complete(self):
        """Whether its figures are there."""
        return (self.folder / "metrics.json").exists()

    def epochs_done(self):
        """Epochs in its history."""
        try:
            text = (self.folder / "history.csv").read_text(encoding="utf-8")
        except FileNotFoundError:
            return 0
        return max(0, text.count("\n") - 1)


def training(settings, folder, varied=()):
    """The job that trains with these settings, or goes on with it.

    Args:
        settings: Settings of experiments.train; its `output_dir` is set here.
        folder: Folder of many trainings: their runs are in `runs/`, what they print in `logs/`; as
            the user gave it, so that no home folder gets into the commands that are recorded.
        varied: Flags that the cells of a grid differ in, which the name of a run has to tell.

    Raises:
        UserError: The trainer would refuse them.
    """
    from experiments.training.settings import checked

    settings = checked(settings)
    name = naming.run_name(settings, varied)
    own = {**settings, "output_dir": os.path.join(folder, "runs", name), "resume": True}
    folder = cli.local_path("--output_dir", folder)
    log = folder / "logs" / f"{name}.log"
    return Job(name, folder / "runs" / name, log, train_flags.command_line(own))


def of_cells(cells, folder, varied=()):
    """The jobs of the cells of a table, in their order.

    Args:
        cells: List of `cells.Cell`.
        folder: As for `training`.
        varied: As for `training`.

    Raises:
        UserError: The trainer would refuse a cell, or two cells would be one run; names them.
    """
    jobs, refused = [], {}
    for cell in cells:
        try:
            jobs.append(training(cell.settings, folder, varied))
        except cli.UserError as error:
            refused.setdefault(str(error), []).append(cell)
    if refused:
        raise cli.UserError("\n  ".join(_refusal(e, found, cells) for e, found in refused.items()))
    by_name = {}
    for cell, job in zip(cells, jobs, strict=True):
        if (first := by_name.setdefault(job.name, cell)) is not cell:
            raise cli.UserError(
                f"the cells {_words(first, cells)} and {_words(cell, cells)} are one run, "
                f"{job.name}; leave one of them out."
            )
    return jobs


def _refusal(error, found, cells):
    """What is wrong with some cells; what is wrong with all of them needs no name of a cell."""
    if len(found) == len(cells):
        return error
    others = f" and {counted(len(found) - 1, 'other')}" if len(found) > 1 else ""
    return f"the cell {_words(found[0], cells)}{others}: {error}"


def _words(cell, cells):
    """A cell by the settings in which the cells differ, such as "gamma=2, seed=0"."""
    ours = {name: naming.exact(value) for name, value in cell.settings.items()}
    return ", ".join(
        f"{name}={text}"
        for name, text in ours.items()
        if any(naming.exact(other.settings[name]) != text for other in cells)
    )
