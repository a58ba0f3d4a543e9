"""Runs the cells of a table, with as many seeds as wanted, and tabulates them beside the paper's.

python -m experiments.sweep --table=2 --seeds=0,1,2 --output_dir=runs/table2

The same command continues a sweep that was stopped, from the last checkpoint of the cells that were
running. Every flag of experiments.train that the table does not vary itself can be added.
"""

import dataclasses
import pathlib
import shlex
import signal
import sys

from absl import flags

from experiments import cli, datasets
from experiments.exports import scoring
from experiments.runs import atomic, data_record, directory, naming, outputs
from experiments.runs.figures import counted
from experiments.runs.files import DamagedError, read_config
from experiments.runs.lock import Lock
from experiments.sweeps import grid, progress_table, runner, tables
from experiments.training import flags as train_flags
from experiments.training import machine
from experiments.training.settings import checked

TABLE = flags.DEFINE_enum(
    "table",
    None,
    ["1", "2", "power"],
    "1: three losses, balanced and long-tailed, without the class-balanced term; 2: three losses, "
    "four powers of the term; power: --loss under powers from 0 to 2.",
)
SEEDS = flags.DEFINE_list("seeds", ["0"], "Seeds; every cell is run once with each.")
JOBS = flags.DEFINE_integer("jobs", 1, "Trainings at a time, each on its share of the cores.")
RETRIES = flags.DEFINE_integer("retries", 1, "How often a failed cell is started again.")
BALANCED_EPOCHS = flags.DEFINE_integer(
    "balanced_epochs",
    None,
    "Epochs of table 1's balanced cells, which have more images; default: --train_epochs.",
)

# Flags of the trainer that a table sets itself.
_VARIED = {"1": ("loss", "cb_power"), "2": ("loss", "cb_power"), "power": ("cb_power",)}


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A table's cells and where their runs are."""

    table: str
    folder: pathlib.Path
    cells: list
    jobs: list


def main(argv):
    """Checks everything, then runs what is not finished and writes the tables."""
    del argv
    signal.signal(signal.SIGTERM, _stop)
    sweep = plan()
    outputs.check_writable(sweep.folder)
    lock = Lock(sweep.folder)
    atomic.remove_temporaries(sweep.folder)
    _check_runs(sweep)
    for job in sweep.jobs:
        if job.is_complete():
            job.state = "done"
    for line in _left_out(sweep):
        print(line)
    _write(sweep)
    with progress_table.ProgressTable(sweep.cells, sweep.jobs) as display:

        def on_change(job):
            display.changed(job)
            if job.state == "done":
                _write(sweep)

        try:
            runner.run(sweep.jobs, JOBS.value, RETRIES.value, on_change, display.refresh)
        except KeyboardInterrupt:
            print(f"stopped: {display.summary()}; the same command continues", file=sys.stderr)
            raise
    print((sweep.folder / _document_name(sweep.table)).read_text(encoding="utf-8"))
    lock.release()
    _report_failures(sweep)


def plan():
    """The sweep that the flags describe, all of its cells checked.

    Raises:
        UserError: A flag is missing, out of range or contradicts the table.
    """
    settings = train_flags.given_settings()
    _check_flags(settings)
    folder = cli.local_path("--output_dir", settings["output_dir"])
    cells = grid.cells(TABLE.value, settings, _seeds(), BALANCED_EPOCHS.value)
    jobs = [runner.training(cell.settings, settings["output_dir"]) for cell in cells]
    return Sweep(TABLE.value, folder, cells, jobs)


def _check_flags(settings):
    problems = []
    if TABLE.value is None:
        raise cli.UserError("--table is missing: 1, 2 or power.")
    if settings["output_dir"] is None:
        problems.append("--output_dir is missing: the folder of the sweep, such as runs/table2.")
    varied = _VARIED[TABLE.value]
    problems += [
        f"--{name} can't be given with --table={TABLE.value}, which varies it."
        for name in varied
        if flags.FLAGS[name].present
    ]
    if flags.FLAGS["seed"].present:
        problems.append("--seed can't be given to a sweep; use --seeds.")
    if flags.FLAGS["resume"].present and not settings["resume"]:
        problems.append("--noresume can't be given to a sweep; choose another --output_dir.")
    if BALANCED_EPOCHS.value is not None and (TABLE.value != "1" or BALANCED_EPOCHS.value < 1):
        problems.append(
            f"--balanced_epochs={BALANCED_EPOCHS.value}: it must be at least 1, and belongs to "
            "--table=1."
        )
    cores = machine.cores()
    if not 1 <= JOBS.value <= cores:
        problems.append(
            f"--jobs must be between 1 and the number of cores, {cores}; got {JOBS.value}."
        )
    if RETRIES.value < 0:
        problems.append(f"--retries must be at least 0, got {RETRIES.value}.")
    if problems:
        raise cli.UserError("\n  ".join(problems))


def _seeds():
    try:
        seeds = [int(seed) for seed in SEEDS.value]
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) < len(seeds):
        raise cli.UserError(
            f"--seeds must be different whole numbers, such as 0,1,2; got {','.join(SEEDS.value)}."
        )
    return seeds


def _check_runs(sweep):
    """Refuses runs with other settings, before any cell is started.

    A run of another table may lie beside them; only what the tables vary may differ.
    """
    expected = {
        job.folder: train_flags.recorded(checked(cell.settings))
        for cell, job in zip(sweep.cells, sweep.jobs, strict=True)
    }
    shared = next(iter(expected.values()))
    defaults = train_flags.protocol_defaults()  # of flags that an older run did not know
    configs = {}
    for path in sorted((sweep.folder / "runs").glob("*/config.json")):
        configs[path.parent] = directory.read_config(path.parent)
        theirs = {**defaults, **configs[path.parent]["flags"]}
        ours = expected.get(path.parent)
        if ours is None:
            ours = {**shared, **{name: theirs.get(name) for name in grid.AXES}}
        different = directory.differences(ours, theirs)
        if different:
            raise cli.UserError(
                f"--output_dir={sweep.folder} holds a run with other settings, {path.parent.name} "
                f"({'; '.join(different)}); give the flags that are there or choose another folder."
            )
    if not all(job.is_complete() for job in sweep.jobs):
        settings = sweep.cells[0].settings
        name = datasets.full_name(settings["dataset"], settings["data_dir"])
        configs[data_record.TO_BE_TRAINED] = {"data": {"name": name}}
    data_record.check_alike(configs)


def _finished(sweep):
    """Folders of finished runs, and whether each has the name that a sweep gives to such a run."""
    cells = {job.folder for job in sweep.jobs}
    for path in sorted((sweep.folder / "runs").glob("*/metrics.json")):
        yield path.parent, path.parent in cells or _has_its_name(path.parent)


def _has_its_name(folder):
    try:
        flags = read_config(folder / "config.json")["flags"]
    except DamagedError:
        return False
    return naming.has_its_name(folder, {**train_flags.protocol_defaults(), **flags})


def _left_out(sweep):
    """Lines about finished runs that would count twice, as a copy next to its original does."""
    for folder, counts in _finished(sweep):
        if not counts:
            yield (
                f"left out of results.csv: {folder}, which does not have the name of its settings "
                "and so may be a copy"
            )


def _write(sweep):
    """Writes `results.csv`, with the finished runs of all tables, and the table's document."""
    folders = [folder for folder, counts in _finished(sweep) if counts]
    runs = {folder: directory.read_finished(folder) for folder in folders}
    data_record.check_alike({folder: config for folder, (config, _) in runs.items()})
    scored = {folder: scoring.with_todays_shot_groups(*run) for folder, run in runs.items()}
    rows = [(config["flags"], scored[folder][0]) for folder, (config, _) in runs.items()]
    atomic.write_atomically(sweep.folder / "results.csv", tables.results_csv(rows).encode())
    of_table = {i: scored[job.folder] for i, job in enumerate(sweep.jobs) if job.folder in scored}
    figures = {i: of_run for i, (of_run, *_) in of_table.items()}
    table = tables.Table(sweep.table, sweep.cells, figures)
    command = shlex.join(["python", "-m", "experiments.sweep", *sys.argv[1:]])
    notes = [*_notes(sweep), *_other_shot_rules(rules for _, *rules in of_table.values())]
    text = tables.document(table, command, notes)
    atomic.write_atomically(sweep.folder / _document_name(sweep.table), text.encode())


def _document_name(table):
    return "power.md" if table == "power" else f"table{table}.md"


def _notes(sweep):
    """What of these runs is not the published protocol."""
    settings = sweep.cells[0].settings
    protocol = train_flags.protocol_defaults()
    own = [
        f"{name} {_words(settings[name])} instead of {_words(default)}"
        for name, default in protocol.items()
        if name not in grid.AXES and _words(settings[name]) != _words(default)
    ]
    epochs = settings["train_epochs"]
    long_tailed = {cell.settings["train_epochs"] for cell in sweep.cells if not _balanced(cell)}
    if long_tailed:
        (epochs,) = long_tailed
    if epochs != protocol["train_epochs"]:
        own.insert(0, f"{counted(epochs, 'epoch')} instead of {protocol['train_epochs']}")
    balanced = {cell.settings["train_epochs"] for cell in sweep.cells if _balanced(cell)}
    if balanced - {epochs}:
        own.insert(1, f"{counted(balanced.pop(), 'epoch')} for the balanced cells")
    if own:
        yield f"Not the published protocol: {', '.join(own)}."


def _other_shot_rules(rules):
    """A line on the runs, `(recorded, today)` each, whose shot figures were by another rule."""
    others = [there for there, today in rules if there not in (None, today)]
    if others:
        yield (
            f"The few-shot figures of all runs are by one rule, that of today; "
            f"{counted(len(others), 'run')} recorded them by another "
            f"({', '.join(sorted(set(map(str, others))))})."
        )


def _balanced(cell):
    return cell.settings["long_tail"] == "exponential" and cell.settings["imbalance_factor"] == 1


def _words(value):
    return ",".join(map(str, value)) if isinstance(value, list) else f"{value}"


def _report_failures(sweep):
    failed = [job for job in sweep.jobs if job.state == "failed"]
    for job in failed:
        print(f"failed: {job.name}: {job.reason}\n  its log: {job.log}", file=sys.stderr)
    if failed:
        print(
            f"{len(failed)} of {len(sweep.jobs)} cells failed; the same command tries them again.",
            file=sys.stderr,
        )
        sys.exit(1)


def _stop(*_):
    raise KeyboardInterrupt


if __name__ == "__main__":
    cli.run(main)
