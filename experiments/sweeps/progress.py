"""The live display of a sweep: its table, with what is done, what is running and what is left."""

import contextlib
import json
import time

import rich.console
import rich.live
import rich.measure
import rich.table
import rich.text

from experiments.runs import tails
from experiments.runs.figures import accuracy, duration
from experiments.runs.files import DamagedError, read_config


class ProgressTable:
    """Shows the state of a sweep's jobs; a context manager.

    In a terminal it is a table, drawn again and again; elsewhere a line is printed at each change.

    Args:
        cells: List of `cells.Cell`.
        jobs: List of `jobs.Job`, one a cell.
        console: `rich.console.Console`; default: the standard output.
    """

    def __init__(self, cells, jobs, console=None):
        self.cells = cells
        self.jobs = jobs
        self.console = console or rich.console.Console()
        self.clock = WorkClock(cells, jobs)
        self._drawn = 0.0
        # Drawn by `refresh` alone: with no thread of its own, the sweep may fork.
        self._live = rich.live.Live(console=self.console, auto_refresh=False, transient=True)

    def __enter__(self):
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception):
        if self.console.is_terminal:
            self._live.stop()

    def refresh(self, seconds=2.0):
        """Draws the table where it is older than `seconds`."""
        if self.console.is_terminal and time.monotonic() - self._drawn > seconds:
            self._drawn = time.monotonic()
            self._live.update(self.table(), refresh=True)

    def changed(self, job):
        """Shows that a job has changed its state."""
        if self.console.is_terminal:
            self.refresh(0.0)
            return
        self.console.print(
            f"{job.name} {_words(job)} | {self.summary()}", markup=False, soft_wrap=True
        )

    def summary(self):
        """One line: cells done, running and failed, and the time left."""
        states = [job.state for job in self.jobs]
        parts = [f"{states.count('done')} of {len(states)} cells done"]
        parts += [f"{states.count(s)} {s}" for s in ("running", "failed") if s in states]
        left = self.clock.seconds_left()
        if left is not None and len(states) > states.count("done") + states.count("failed"):
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)

    def table(self):
        """The state, laid out as the table of the paper; as a list where that is too wide.

        The summary is a line of its own: as the title of the table it would be as narrow as that.
        """
        columns = list(dict.fromkeys(cell.column for cell in self.cells))
        table = rich.table.Table("", *columns)
        texts = {}
        for cell, job in zip(self.cells, self.jobs, strict=True):
            texts.setdefault(cell.row, {}).setdefault(cell.column, []).append(_text(cell, job))
        for row, by_column in texts.items():
            table.add_row(row, *("  ".join(by_column.get(column, ())) for column in columns))
        unlimited = self.console.options.update_width(10**6)
        wanted = rich.measure.Measurement.get(self.console, unlimited, table).maximum
        if wanted <= self.console.width:
            return rich.console.Group(rich.text.Text(self.summary()), table)
        lines = [
            rich.text.Text.from_markup(f"{'  '.join(found)}  ").append(f"{row}, {column}")
            for row, by_column in texts.items()
            for column, found in by_column.items()
        ]
        return rich.console.Group(rich.text.Text(self.summary()), *lines)


class WorkClock:
    """Time left, from the images trained on since it was made.

    Args:
        cells: List of `cells.Cell`.
        jobs: List of `jobs.Job`, one a cell.
    """

    def __init__(self, cells, jobs):
        self.cells = cells
        self.jobs = jobs
        self.started = time.monotonic()
        self.at_start = {job.name: job.epochs_done() for job in jobs}
        self._images = {}

    def seconds_left(self):
        """Seconds, or None while nothing has been measured."""
        images = self._images_per_epoch()
        done = left = 0
        for cell, job, per_epoch in zip(self.cells, self.jobs, images, strict=True):
            if not job.trains:
                continue
            epochs = job.epochs_done()
            # A run that goes on from its checkpoint first repeats some epochs of its history.
            done += max(0, epochs - self.at_start[job.name]) * per_epoch
            if job.state in ("waiting", "running"):
                left += (cell.settings["train_epochs"] - epochs) * per_epoch
        elapsed = time.monotonic() - self.started
        return left * elapsed / done if done else None

    def _images_per_epoch(self):
        """Training images of each cell; for one not begun, those of one with the same tail."""
        for cell, job in zip(self.cells, self.jobs, strict=True):
            tail = tails.in_name(cell.settings)
            if tail not in self._images:
                with contextlib.suppress(DamagedError):  # the trainer writes it again
                    config = read_config(job.folder / "config.json")
                    self._images[tail] = sum(config["class_counts"])
        unknown = max(self._images.values(), default=1)
        return [self._images.get(tails.in_name(c.settings), unknown) for c in self.cells]


def _words(job):
    if job.state == "running":
        return "started" if job.attempts == 1 else "started again"
    if job.state == "done":
        return f"done, accuracy {_accuracy(job)}"
    again = " and will be tried again" if job.state == "waiting" else ""
    return f"failed{again}: {job.reason}"


def _text(cell, job):
    if job.state == "done":
        return _accuracy(job)
    if job.state == "running" and not job.trains:
        return "[yellow]evaluating[/]"
    if job.state == "running":
        return f"[yellow]{job.epochs_done()}/{cell.settings['train_epochs']}[/]"
    return "[red]failed[/]" if job.state == "failed" else "[dim]waiting[/]"


def _accuracy(job):
    metrics = json.loads((job.folder / job.figures).read_text(encoding="utf-8"))
    return accuracy(metrics["accuracy"])
