"""What is fuzzed: command lines and the files of a run directory, each made of a string of bytes.

The first byte says what the others are. A target returns whether they were accepted. It raises what
a program's user would see as a traceback, and AssertionError where settings do not survive their
own command line, two cells of a sweep share a folder, or a file of a run that is only read changes.
"""

import csv
import functools
import io
import json
import pathlib

from absl import flags
from absl.testing import flagsaver

from experiments import cli, sweep
from experiments.cli import UserError
from experiments.exports import summary
from experiments.reporting import found as runs_below
from experiments.reporting import page, sections
from experiments.runs import directory, naming
from experiments.sweeps import document, results
from experiments.sweeps.cells import Cell, Outcome
from experiments.sweeps.tables import TABLES
from experiments.training import flags as train_flags
from experiments.training.settings import checked, checked_settings
from tests.experiments import report_folders

REFUSALS = (UserError, flags.Error)
AFTER = "posthoc_after.json"
DONE = (
    {"steps": ["logit_adjustment"], "tau": 1.0},
    {"steps": ["tau_norm", "temperature"], "tau": 0.5, "temperature": 1.5, "chosen_by": {"tau": 1}},
    {"steps": ["prior_shift"], "prior": [1.0, 2.0, 3.0]},
)
FLAGS = {**train_flags.protocol_defaults(), "lr_boundaries": [0.8, 0.9]}


def run(data, folder):
    """Feeds `data` to the target that its first byte names.

    Args:
        data: Bytes.
        folder: An existing folder to work in.

    Returns:
        Whether the programs take it; False for an input that is refused as it should be.
    """
    kinds = list(TARGETS)
    kind = data[:1].decode("latin-1")
    if kind not in kinds:
        kind = kinds[data[0] % len(kinds)] if data else kinds[0]
    try:
        return TARGETS[kind](data[1:], folder)
    except REFUSALS:
        return False


def command_line_of(data):
    """The arguments, one a line, as the system hands them to Python; it can't hand over NUL."""
    return data.decode("utf-8", "surrogateescape").replace("\0", "").split("\n") if data else []


def train_command_line(data, folder):
    del folder
    settings = _settings(command_line_of(data))
    _assert_survives(settings, train_flags.command_line(settings))
    assert naming.run_name(settings)
    return True


def train_flagfile(data, folder):
    path = folder / "file.flags"
    path.write_bytes(data)
    if any(_out_of_scope(line) for line in data.decode("latin-1").split("\n")):
        return False
    settings = _settings([f"--flagfile={path}"], _parse_all)
    _assert_survives(settings, train_flags.command_line(settings))
    return True


def sweep_command_line(data, folder):
    del folder
    with flagsaver.flagsaver():
        _parse(command_line_of(data))
        planned = sweep.plan()
    assert len({job.name for job in planned.jobs}) == len(planned.jobs)
    for cell, job in zip(planned.cells, planned.jobs, strict=True):
        if job.first:  # whose run would have to be there
            continue
        settings = checked(cell.settings)
        given = pathlib.Path(cell.settings["output_dir"], "runs", job.name)  # `~` as it is
        settings = {**settings, "output_dir": str(given), "resume": True}
        _assert_survives(settings, job.arguments)
    outcome = Outcome(planned.table, planned.cells, {})
    assert document.text(outcome, "command", list(document.notes(outcome, [])))
    return True


def config(data, folder):
    """`config.json`, for the programs that continue its run, and for the report."""
    run_folder = _run_folder(folder, "config.json", data)
    before = _contents(run_folder)
    accepted = False
    for resume in (False, True):
        try:
            directory.open_run(
                run_folder, FLAGS, resume, train_flags.protocol_defaults()
            ).__exit__()
            assert resume
            accepted = True
        except UserError:
            pass
        assert _contents(run_folder) == before
    refusal = ""
    try:
        sweep._check_folder(_planned(folder))
    except UserError as error:
        refusal = str(error)
    # Where it is on other data than the run next to it, it may go on alone.
    assert not (accepted and refusal) or "are on different data" in refusal
    return _report(run_folder) and accepted


def metrics(data, folder):
    """`metrics.json`, for a training that is complete, for its sweep and for the report."""
    run_folder = _run_folder(folder, "metrics.json", data)
    try:
        config, figures = directory.read_finished(run_folder)
    except UserError:
        assert not _report(run_folder)
        raise
    of_classes = (config[f"class_{what}"] for what in ("counts", "weights", "names"))
    assert list(summary.lines(figures, *of_classes))
    assert results.csv_text([results.Run(config["flags"], figures, (), None, "thirds")])
    cells = [Cell("row", "column", config["flags"])]
    assert document.text(Outcome(TABLES["power"], cells, {0: figures}), "command")
    return _report(run_folder)


def history(data, folder):
    """`history.csv`, for the report."""
    return _report(_run_folder(folder, "history.csv", data))


def posthoc(data, folder):
    """What the figures say was done to the network of a run, for a sweep and for the report."""
    figures = _files()["metrics.json"].removesuffix(b"}") + b', "posthoc": ' + data + b"}"
    run_folder = _run_folder(folder, AFTER, figures)
    reported = _report(run_folder, f"{run_folder.name}/{AFTER}")
    try:
        runs = results.read([run_folder / AFTER])
    except UserError:
        assert not reported
        raise
    assert results.csv_text(runs.values())
    return reported


TARGETS = {
    "t": train_command_line,
    "f": train_flagfile,
    "s": sweep_command_line,
    "c": config,
    "m": metrics,
    "h": history,
    "p": posthoc,
}


def _parse(arguments):
    if any(_out_of_scope(argument) for argument in arguments):
        raise UserError("out of scope")
    _parse_all(arguments)


def _out_of_scope(argument):
    """A flagfile may be any file; absl looks long for what a very long name was meant to be."""
    name = argument.partition("=")[0]
    return "flagfile" in argument or (name.startswith("-") and len(name) > 100)


def _parse_all(arguments):
    try:
        positional = flags.FLAGS(["program", *cli.with_flagfiles(arguments)])[1:]
    except ValueError as error:  # absl's, as in `--noplots=1`; `cli.run` refuses them too
        raise UserError(str(error)) from error
    if positional:
        raise UserError(f"unexpected argument {positional[0]!r}")


def _settings(arguments, parse=_parse):
    with flagsaver.flagsaver():
        parse(arguments)
        return checked_settings()


def _assert_survives(settings, arguments):
    try:
        with flagsaver.flagsaver():
            _parse_all(arguments)
            again = checked_settings()
    except REFUSALS as error:
        raise AssertionError(f"{arguments} was accepted, and is refused: {error}") from error
    assert again == settings, (arguments, again, settings)


@functools.cache
def _files():
    """Valid content of the files of a run directory."""
    rows = io.StringIO()
    writer = csv.writer(rows)
    writer.writerow(["epoch", "loss", "val_accuracy"])
    writer.writerows([[1, 2.0, ""], [2, 1.0, 0.2]])
    config = {
        "flags": FLAGS,
        "resolved": {"lr_decay": 0.01},
        "class_names": report_folders.NAMES,
        "class_counts": report_folders.COUNTS,
        "class_weights": [0.1, 0.4, 2.5],
        "versions": {"python": "3.11.7"},
        "device": ["Abacus 9000"],
        "command": "python -m experiments.train",
    }
    figures = report_folders.metrics_of((0.9, 0.6, 0.3))
    return {
        "config.json": json.dumps(config).encode(),
        "metrics.json": json.dumps(figures).encode(),
        "history.csv": rows.getvalue().encode(),
    }


def seeds():
    """Valid inputs of every kind."""
    sweeps = ("--table=1", "--table=2", "--table=power\n--loss=focal\n--gamma=2")
    sweeps += ("--grid=cb_power=0,1;depth=8,14", "--grid=lr_boundaries=0.5|0.5,0.7")
    return [
        b"t",
        b"t--loss=focal\n--gamma=2\n--lr_boundaries=0.5\n--seed=3\n--balanced_lr_decay=0.1",
        b"t--dataset=tfds:a/b:1.0.0\n--data_dir=x\n--noplots\n--download\n--resume",
        b"f--loss=sigmoid\n# a comment\n--cb_power=0.5\n--long_tail=natural\n",
        *(f"s{table}\n--output_dir=runs/x\n--seeds=0,1\n--jobs=1".encode() for table in sweeps),
        b"s--table=1\n--output_dir=x\n--balanced_epochs=30\n--train_epochs=50\n--retries=0",
        b"c" + _files()["config.json"],
        b"m" + _files()["metrics.json"],
        b"h" + _files()["history.csv"],
        *(b"p" + json.dumps(about).encode() for about in DONE),
    ]


def _run_folder(folder, name, content):
    """Two run directories below `folder`, of which one has this content in one of its files."""
    for run in ("good", naming.run_name(FLAGS)):
        run_folder = folder / "runs" / run
        run_folder.mkdir(parents=True, exist_ok=True)
        (run_folder / AFTER).unlink(missing_ok=True)
        for file, valid in _files().items():
            (run_folder / file).write_bytes(valid)
    (run_folder / name).write_bytes(content)
    return run_folder


@functools.cache
def _planned(folder):
    """A sweep in `folder`; the run with the settings `FLAGS` is one of its cells."""
    with flagsaver.flagsaver():
        _parse_all(["--table=power", f"--output_dir={folder}"])
        return sweep.plan()


def _contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _report(run_folder, name=None):
    """Whether the report finds a finished run there; what it says of it can be put in words.

    Args:
        run_folder: Of `_run_folder`.
        name: What is looked for in place of the run, in addition to it.
    """
    found = runs_below.find(run_folder.parent)
    names = [run.name for run in found.runs]
    names += [name for name, *_ in (*found.unfinished, *found.damaged)]
    assert sorted(names) == sorted(["good", run_folder.name, *([name] if name else [])])
    made, shared = sections.sections(found.runs)
    assert page._in_words(shared) or len(made) > 1
    for section in made:
        assert page._title(section)
        for groups in section.groups.values():
            assert page._rows(groups, list(page._FIGURES))
    for run in found.runs:
        assert page._run(run, run.name)
    return (name or run_folder.name) in [run.name for run in found.runs]
