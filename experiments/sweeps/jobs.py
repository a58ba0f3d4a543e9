"""One training of a sweep: its run directory, its command, and how far it is."""

import dataclasses
import os
import pathlib
import sys
from typing import Any

from experiments import cli
from experiments.runs import afterwards, naming, schema
from experiments.runs.figures import counted
from experiments.training import flags as train_flags

TRAIN, EVALUATE = "experiments.train", "experiments.evaluate"
NETWORK = "model.keras"


@dataclasses.dataclass
class Job:
    """One training, or one evaluation of the network of another.

    Attributes:
        name: Name of its run directory, and of what is evaluated.
        folder: Run directory; the job is done when its figures are in it.
        log: File that its output is appended to.
        arguments: Flags of its program.
        settings: Checked settings of experiments.train.
        first: The job that it begins with the network of, which has to be done before.
        program: `experiments.train` or `experiments.evaluate`.
        figures: File of its figures.
        state: `waiting`, `running`, `done` or `failed`.
        attempts: How often it was started by this process.
        log_start: Bytes that were in the log before its last start.
        reason: Why its last attempt failed, one line.
    """

    name: str
    folder: pathlib.Path
    log: pathlib.Path
    arguments: list
    settings: dict | None = None
    first: Any = None
    program: str = TRAIN
    figures: str = schema.METRICS
    state: str = "waiting"
    attempts: int = 0
    log_start: int = 0
    reason: str = ""

    @property
    def command(self):
        """The command that does it, a list of words."""
        return [sys.executable, "-m", self.program, *self.arguments]

    @property
    def trains(self):
        """Whether it is a training."""
        return self.program == TRAIN

    def is_complete(self):
        """Whether its figures are there, and those of its run."""
        return all((self.folder / name).exists() for name in (schema.METRICS, self.figures))

    def recorded(self):
        """The settings that its run records; of a first stage that is not there its name alone."""
        if self.first is None or not self.trains:
            return train_flags.recorded(self.settings)
        if (self.first.folder / NETWORK).exists():
            return train_flags.recorded({**self.settings, "first_stage": str(self.first.folder)})
        own = train_flags.recorded({**self.settings, "first_stage": None})
        return {**own, "first_stage": self.first.name}

    def epochs_done(self):
        """Epochs in its history."""
        try:
            text = (self.folder / "history.csv").read_text(encoding="utf-8")
        except FileNotFoundError:
            return 0
        return max(0, text.count("\n") - 1)


def training(settings, folder, varied=(), first=None):
    """The job that trains with these settings, or goes on with it.

    Args:
        settings: Settings of experiments.train; its `output_dir` is set here.
        folder: Folder of many trainings: their runs are in `runs/`, what they print in `logs/`; as
            the user gave it, so that no home folder gets into the commands that are recorded.
        varied: Flags that the cells of a grid differ in, or that a row chooses, which the name of a
            run has to tell.
        first: Job of its first stage, of a second one.

    Raises:
        UserError: The trainer would refuse them.
    """
    from experiments.training.settings import checked

    if first:
        settings = {**settings, "first_stage": os.path.join(folder, "runs", first.name)}
    settings = checked(settings, first and first.settings)
    name = naming.run_name(settings, varied)
    own = {**settings, "output_dir": os.path.join(folder, "runs", name), "resume": True}
    folder = cli.local_path("--output_dir", folder)
    log = folder / "logs" / f"{name}.log"
    arguments = train_flags.command_line(own)
    return Job(name, folder / "runs" / name, log, arguments, settings, first)


def evaluation(first, posthoc, folder):
    """The job that evaluates the network of a training after something was done to it.

    Args:
        first: Job of the training.
        posthoc: Flags of experiments.evaluate.
        folder: As for `training`.
    """
    words = [",".join(posthoc["posthoc"])] + [
        f"{name.removeprefix(afterwards.PREFIX)}{naming.exact(value)}"
        for name, value in posthoc.items()
        if name != "posthoc"
    ]
    figures = f"{afterwards.PREFIX}{'_'.join(words)}.json"
    name = f"{first.name}_{figures.removesuffix('.json')}"
    run = os.path.join(folder, "runs", first.name)
    own = {"saved_model": os.path.join(run, NETWORK), "output": os.path.join(run, figures)}
    given = ("data_dir", "download", "eval_batch_size")
    own |= {n: v for n in given if (v := first.settings[n]) != train_flags.default(n)}
    own |= posthoc
    arguments = [f"--{name}={naming.exact(value)}" for name, value in own.items()]
    log = first.log.with_name(f"{name}.log")
    return Job(name, first.folder, log, arguments, first.settings, first, EVALUATE, figures)


def tie_to_data(jobs, of_sweep, folder):
    """Lets the trainings that wait refuse other data than a finished one of the sweep had.

    Else a folder whose images have changed would be noticed when the tables are made.

    Args:
        jobs: List of `Job`.
        of_sweep: The jobs of the sweep; its first training that is done counts.
        folder: As for `training`.
    """
    done = next((job for job in of_sweep if job.trains and job.state == "done"), None)
    if done is None:
        return
    tie = f"--same_data_as={os.path.join(folder, 'runs', done.folder.name)}"
    for job in jobs:
        if job.trains and job.state == "waiting" and tie not in job.arguments:
            job.arguments.append(tie)


def of_cells(cells, folder, varied=()):
    """The jobs of the cells of a table, in their order.

    Args:
        cells: List of `cells.Cell`.
        folder: As for `training`.
        varied: As for `training`.

    Raises:
        UserError: The trainer would refuse a cell, or two cells would be one run; names them.
    """
    jobs, refused, places = [], {}, {}
    for cell in cells:
        place = cell.column, cell.settings["seed"]
        first = places.get((cell.first, *place))
        if cell.first and not first:  # it was refused
            continue
        try:
            if cell.posthoc:
                job = evaluation(first, cell.posthoc, folder)
            else:
                job = training(cell.settings, folder, (*varied, *cell.by_row), first)
            jobs.append(job)
            places[cell.row, *place] = job
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
