"""Digits with and without the class-balanced term, five seeds each, and what it changed.

python -m experiments.demo
"""

import os
import pathlib
import sys
import time

from experiments import cli
from experiments.cli import help_text
from experiments.methods.powers import POWERS
from experiments.runs import directory
from experiments.runs.figures import Statistic
from experiments.sweeps import jobs, progress
from experiments.sweeps.cells import Cell
from experiments.sweeps.launchers import local
from experiments.training import flags as train_flags
from experiments.training import machine

PRESET = pathlib.Path(os.path.relpath(pathlib.Path(__file__).parent / "presets/digits.flags"))
METHODS = {power: f"power {power:g} ({POWERS[power].words})" for power in (0.0, 1.0)}
SEEDS = range(5)  # Two images of a class are few: a single seed can end either way.
_MOST_JOBS = 4  # a gigabyte of memory each


def main(argv):
    """Trains all of them, each in its own process, and compares."""
    del argv
    folder = pathlib.Path("runs", time.strftime("demo_%Y-%m-%d_%H%M%S"))
    cells, trainings = plan(folder)
    print("the focal loss without and with the class-balanced term; every training is one of")
    print(f"$ python -m experiments.train {' '.join(_ARGUMENTS)} --cb_power=0 --seed=0", flush=True)
    slots = min(machine.cores(), _MOST_JOBS)
    with progress.ProgressTable(cells, trainings) as display:
        local.run(trainings, slots, 1, display.changed, display.refresh)
    for job in trainings:
        if job.state == "failed":
            sys.exit(f"{job.name} failed: {job.reason}\n  its log: {job.log}")
    runs = {method: [] for method in METHODS.values()}
    for cell, job in zip(cells, trainings, strict=True):
        runs[cell.row].append(job.folder)
    picture = folder / "comparison.png"
    _draw(runs, picture)
    print(f"\npictures: {picture}, of each run: {folder / 'runs' / '*' / 'plots'}")
    print(comparison(*([directory.read_finished(run)[1] for run in r] for r in runs.values())))


def plan(folder):
    """Cells and jobs, one a method and seed; all seeds of the first method before the second's."""
    settings = train_flags.given_settings()
    cells = [
        Cell(method, "seeds", {**settings, "cb_power": power, "seed": seed})
        for power, method in METHODS.items()
        for seed in SEEDS
    ]
    return cells, jobs.of_cells(cells, folder)


def comparison(plain, balanced):
    """One line: what the class-balanced term changed, from the metrics of both methods' runs."""
    changes = []
    for label, key in (("few-shot", "few_accuracy"), ("balanced", "balanced_accuracy")):
        before, after = (Statistic.of(m[key] for m in runs).mean for runs in (plain, balanced))
        changes.append(f"{label} accuracy {before:.3f} -> {after:.3f} ({after - before:+.3f})")
    seeds = f"mean of {len(plain)} seeds"
    return f"what the class-balanced term changed, {seeds}: {', '.join(changes)}"


def _draw(runs, picture):
    """Draws the comparison; the trainings are worth as much without it."""
    from experiments.reporting import pictures

    try:
        pictures.draw_comparison(runs, picture)
    except Exception as error:
        print(f"warning: {picture} can't be drawn ({cli.in_a_line(error)})", file=sys.stderr)


_ARGUMENTS = [f"--flagfile={PRESET}", "--loss=focal"]

if __name__ == "__main__":
    if help_text.is_asked_for(sys.argv[1:]):
        sys.exit(print(__doc__.strip()))
    if sys.argv[1:]:
        sys.exit("error: the demo has no flags; experiments.train and experiments.sweep have.")
    sys.argv += _ARGUMENTS
    cli.run(main)
