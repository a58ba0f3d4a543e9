"""Runs the cells of a table, with as many seeds as wanted, and tabulates them next to the paper's.

python -m experiments.sweep --table=2 --seeds=0,1,2 --output_dir=runs/table2
python -m experiments.sweep --grid="cb_power=0,0.5,1;gamma=0,1,2" --loss=focal --output_dir=DIR

The same command continues a sweep that was stopped, from the last checkpoint of the cells that were
running. With --records=DIR nothing is trained: the tables are made of the finished runs in DIR, of
which config.json, history.csv and metrics.json are enough. Every flag of experiments.train that the
table does not vary itself can be added.
"""

import dataclasses
import pathlib
import shlex
import sys
from typing import Any

from absl import flags

from experiments import cli
from experiments.runs import atomic, naming, outputs, saved_epochs
from experiments.runs.lock import Lock
from experiments.sweeps import cells, document, grid, jobs, progress, results, retrain
from experiments.sweeps.launchers import LAUNCHERS
from experiments.sweeps.tables import OPTIONS, TABLES
from experiments.sweeps.tables.grid import table as table_of_grid
from experiments.training import flags as train_flags
from experiments.training import machine

TABLE = flags.DEFINE_enum(
    "table",
    None,
    list(TABLES),
    "; ".join(f"{table.name}: {table.help}" for table in TABLES.values()) + ".",
)
GRID = flags.DEFINE_string(
    "grid",
    None,
    'In place of --table: flags of experiments.train and their values, "cb_power=0,0.5,1;gamma=0,1"'
    ', of which every combination is a cell. The values of a list are separated by "|".',
)
SEEDS = flags.DEFINE_list("seeds", ["0"], "Seeds; every cell is run once with each.")
JOBS = flags.DEFINE_integer("jobs", 1, "Trainings at a time, each on its share of the cores.")
RETRIES = flags.DEFINE_integer("retries", 1, "How often a failed cell is started again.")
LAUNCHER = flags.DEFINE_enum(
    "launcher", next(iter(LAUNCHERS)), list(LAUNCHERS), "Where the cells run."
)
RECORDS = flags.DEFINE_string(
    "records",
    None,
    "Folder of finished runs, such as results/runs: of them the tables are made, without training.",
)
RETRAIN = flags.DEFINE_bool(
    "retrain",
    False,
    "Train the cell that is best on held-out images again on all training images, with every seed.",
)
TABLE_OPTIONS = {
    option.name: (flags.DEFINE_list if option.is_list else flags.DEFINE_integer)(
        option.name, None, option.help
    )
    for option in OPTIONS
}
GROUPS = {
    "What is run": ("table", "grid", "seeds", *TABLE_OPTIONS),
    "How it is run": ("launcher", "jobs", "retries", "records", "retrain"),
    **train_flags.GROUPS,
}


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A table, its cells, and where their runs are.

    Attributes:
        table: `tables.Table`.
        grid: Dict of flag to values where it is a grid of the user's own, else empty.
        folder: Folder of the sweep, a `pathlib.Path`.
        cells: List of `cells.Cell`.
        jobs: List of `jobs.Job`, one a cell.
        output_dir: The folder as the user gave it.
    """

    table: Any
    grid: dict
    folder: pathlib.Path
    cells: list
    jobs: list
    output_dir: str


def main(argv):
    """Checks everything, then runs what is not finished and writes the tables."""
    del argv
    sweep = plan()
    outputs.check_writable(sweep.folder)
    lock, again = Lock(sweep.folder), None
    atomic.remove_temporaries(sweep.folder)
    if RECORDS.value is None:
        _check_folder(sweep)
    else:
        results.check_records(RECORDS.value, _expected(sweep))
    for job in sweep.jobs:
        if job.is_complete():
            job.state = "done"
    for path, reason in _write(sweep).items():
        print(f"left out of results.csv: {path}, {reason}")
    if RECORDS.value is None:
        _run(sweep.cells, sweep.jobs, sweep)
        again = _again(sweep)
        if again is not None:
            _run(again.cells, again.jobs, sweep)
    print((sweep.folder / sweep.table.document).read_text(encoding="utf-8"))
    lock.release()
    _report_failures(sweep.jobs if again is None else [*sweep.jobs, *again.jobs])


def _run(their_cells, their_jobs, sweep):
    """Runs the cells that are not done; the tables are written again after each of them."""
    with progress.ProgressTable(their_cells, their_jobs) as display:
        jobs.tie_to_data(their_jobs, sweep.jobs, sweep.output_dir)

        def on_change(job):
            display.changed(job)
            if job.state == "done":
                _write(sweep)
                jobs.tie_to_data(their_jobs, sweep.jobs, sweep.output_dir)

        launch = LAUNCHERS[LAUNCHER.value]
        try:
            launch(their_jobs, JOBS.value, RETRIES.value, on_change, display.refresh)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_how_to_go_on(sweep, display.summary())) from None


def _how_to_go_on(sweep, summary):
    """What of an interrupted sweep is saved, and the command that continues it."""
    lines = [summary]
    for cell, job in zip(sweep.cells, sweep.jobs, strict=True):
        epochs = saved_epochs.saved(job.folder)
        if job.state == "running" and job.trains and epochs:
            lines.append(f"{job.name}: epoch {epochs} of {cell.settings['train_epochs']} is saved")
    return "\n  ".join([*lines, "go on with", _command()])


def _command():
    return shlex.join(["python", "-m", "experiments.sweep", *sys.argv[1:]])


def plan():
    """The sweep that the flags describe, all of its cells checked.

    Raises:
        UserError: A flag is missing, out of range or contradicts the table.
    """
    settings = train_flags.given_settings()
    axes = _check_choice()
    table = table_of_grid(axes) if axes else TABLES[TABLE.value]
    _check_flags(settings, table)
    settings |= {name: train_flags.default(name) for name in table.varies if _gives_way(name)}
    folder = cli.local_path("--output_dir", settings["output_dir"])
    options = {name: holder.value for name, holder in TABLE_OPTIONS.items()}
    try:
        shared = grid.shared_settings(settings, axes)
        made = cells.of_table(table, shared, _seeds(), options)
    except ValueError as error:  # the method does not have a loss of the table
        raise cli.UserError(error) from error
    if axes:
        grid.check_size(made)
    _check_effect(made, settings, table)
    own = jobs.of_cells(made, settings["output_dir"], axes)
    if RECORDS.value is not None:
        records = cli.local_path("--records", RECORDS.value)
        for job in own:
            job.folder = records / job.folder.name
    return Sweep(table, axes, folder, made, own, settings["output_dir"])


def _check_choice():
    """The axes of the grid, empty where a table is chosen; raises UserError unless it is one."""
    if TABLE.value is not None and GRID.value is not None:
        raise cli.UserError("--table and --grid can't be given together; leave one of them out.")
    if TABLE.value is None and GRID.value is None:
        *others, last = TABLES
        raise cli.UserError(
            f"--table is missing: {', '.join(others)} or {last}; --grid has a table of your own."
        )
    return {} if GRID.value is None else grid.axes(GRID.value)


def _gives_way(name):
    """Whether a flag that a table varies was given where its value is as if it were not.

    A first stage does not: its data and network are those of the sweep.
    """
    return cli.is_only_in_a_flagfile(name) and name != "first_stage"


def _check_flags(settings, table):
    problems = []
    chosen = "--grid" if table.name not in TABLES else f"--table={table.name}"
    if settings["output_dir"] is None:
        problems.append("--output_dir is missing: the folder of the sweep, such as runs/table2.")
    problems += [
        f"--{name} can't be given with {chosen}, which varies it."
        for name in table.varies
        if flags.FLAGS[name].present and not _gives_way(name)
    ]
    if flags.FLAGS["seed"].present:
        problems.append("--seed can't be given to a sweep; use --seeds.")
    if flags.FLAGS["resume"].present and not settings["resume"]:
        problems.append("--noresume can't be given to a sweep; choose another --output_dir.")
    problems += _option_problems(table)
    if RETRAIN.value and RECORDS.value is not None:
        problems.append("--retrain trains, and --records trains nothing; leave one of them out.")
    elif RETRAIN.value:
        problems += retrain.problems(table, settings)
    cores = machine.cores()
    if not 1 <= JOBS.value <= cores:
        problems.append(
            f"--jobs must be between 1 and the number of cores, {cores}; got {JOBS.value}."
        )
    if RETRIES.value < 0:
        problems.append(f"--retries must be at least 0, got {RETRIES.value}.")
    if problems:
        raise cli.UserError("\n  ".join(problems))


def _check_effect(made, settings, table):
    """Refuses a flag whose value no row has, and tells which rows have another.

    Rows with a preset choose what it is for, in place of the flags; of a flagfile nothing is said.
    """
    rows = {}
    for cell in made:
        if not cell.posthoc:
            rows.setdefault(cell.row, cell.settings)
    for name in table.differs:
        if not flags.FLAGS[name].present or cli.is_only_in_a_flagfile(name):
            continue
        own = [row for row, theirs in rows.items() if theirs[name] != settings[name]]
        given = f"--{name}={naming.exact(settings[name])}"
        if len(own) == len(rows):
            raise cli.UserError(f"{given} has no effect: every row has its own; leave it out.")
        if own:
            print(f"{given} is not of these rows, which have their own: {', '.join(own)}")


def _option_problems(table):
    """What is wrong with the options that belong to one table."""
    for owner in TABLES.values():
        for option in owner.options:
            value = TABLE_OPTIONS[option.name].value
            wrong = value is not None and not option.is_list and value < 1
            if wrong or (value is not None and owner is not table):
                least = "" if option.is_list else "must be at least 1, and "
                given = ",".join(value) if option.is_list else value
                yield f"--{option.name}={given}: it {least}belongs to --table={owner.name}."


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


def _check_folder(sweep):
    """Raises UserError where runs that are there do not belong to this sweep."""
    from experiments import datasets

    expected = _expected(sweep)
    data_name = None
    if not all(job.is_complete() for job in sweep.jobs):
        settings = sweep.cells[0].settings
        data_name = datasets.full_name(settings["dataset"], settings["data_dir"])
    differs = {name for table in TABLES.values() for name in table.differs}
    results.check_folder(sweep.folder, expected, sweep.table.varies, data_name, differs)
    for job in sweep.jobs:
        network = job.first and job.first.folder / jobs.NETWORK
        if network and job.first.is_complete() and not (job.is_complete() or network.exists()):
            raise cli.UserError(
                f"{job.name} begins with {network}, which is not there, though its run is "
                "finished: delete the metrics.json next to it, or leave out rows with --rows."
            )


def _expected(sweep):
    """Dict of run directory of each cell to the settings that it records."""
    return {job.folder: job.recorded() for job in sweep.jobs}


def _write(sweep):
    """Writes `results.csv`, with the finished runs of all tables, and the table's document.

    Of records only those of the table's own cells are written.

    Returns:
        Dict of what is finished but left out, such as a copy of a run, which would count twice, to
        the reason.
    """
    runs, left_out = _finished(sweep)
    text = results.csv_text(runs.values(), sweep.grid)
    atomic.write_atomically(sweep.folder / "results.csv", text.encode())
    own = {i: runs[_figures(job)] for i, job in enumerate(sweep.jobs) if _figures(job) in runs}
    for i, run in own.items():
        results.check_posthoc(_figures(sweep.jobs[i]), run, sweep.cells[i].posthoc)
    outcome = cells.Outcome(sweep.table, sweep.cells, {i: run.metrics for i, run in own.items()})
    again = _again(sweep, outcome)
    sentences = again.sentences() if again else ()
    theirs = {_figures(job) for job in sweep.jobs}
    others = [run for path, run in runs.items() if path not in theirs]
    notes = document.notes(outcome, own.values(), others)
    text = document.text(outcome, _command(), notes, sentences)
    atomic.write_atomically(sweep.folder / sweep.table.document, text.encode())
    return left_out


def _figures(job):
    """What `results.read` calls the figures of a job."""
    return job.folder if job.trains else job.folder / job.figures


def _finished(sweep):
    """Dict of run directory to `results.Run`, and that of what is left out."""
    if RECORDS.value is None:
        own = {path for job in sweep.jobs for path in (job.folder, _figures(job))}
        return results.finished(sweep.folder, own)
    return results.read([_figures(job) for job in sweep.jobs if job.is_complete()]), {}


def _again(sweep, outcome=None):
    """The `retrain.Again` of `--retrain`; None without it, or while a cell is not finished."""
    if not RETRAIN.value:
        return None
    if outcome is None:
        runs, _ = _finished(sweep)
        found = {i: runs[j.folder] for i, j in enumerate(sweep.jobs) if j.folder in runs}
        metrics = {i: run.metrics for i, run in found.items()}
        outcome = cells.Outcome(sweep.table, sweep.cells, metrics)
    if len(outcome.metrics) < len(outcome.cells):
        return None
    return retrain.Again(outcome, sweep.output_dir, sweep.grid)


def _report_failures(all_jobs):
    failed = [job for job in all_jobs if job.state == "failed"]
    for job in failed:
        print(f"failed: {job.name}: {job.reason}\n  its log: {job.log}", file=sys.stderr)
    if failed:
        print(
            f"{len(failed)} of {len(all_jobs)} cells failed; the same command tries them again.",
            file=sys.stderr,
        )
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main, groups=GROUPS)
