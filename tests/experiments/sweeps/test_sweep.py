"""The sweep: what it refuses, what it runs, what it writes; with a stand-in for the launcher.

tests/experiments/sweeps/test_sweep_training.py runs real trainings.
"""

import csv
import json
import pathlib
import shutil
import textwrap

import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import sweep
from experiments.cli import UserError
from experiments.runs.lock import Lock
from experiments.sweeps.launchers import LAUNCHERS, local
from experiments.sweeps.tables import power
from experiments.training import flags as train_flags
from experiments.training.settings import checked, checked_settings
from tests.experiments.cases import call

# What `python -m experiments.train` does in a working directory that has it.
TRAINER = """
    import json, pathlib, sys
    flags = dict(a.removeprefix("--").partition("=")[::2] for a in sys.argv[1:])
    folder = pathlib.Path(flags["output_dir"])
    if folder.name in pathlib.Path("broken.txt").read_text().split():
        sys.exit("error: the training diverged")
    folder.mkdir(parents=True)
    for name, text in json.loads(pathlib.Path("prepared.json").read_text())[folder.name].items():
        (folder / name).write_text(text)
"""


def files(settings):
    """What a training leaves: accuracy .70 for power 1, less with the distance from it."""
    accuracy = 0.7 - 0.1 * abs(settings["cb_power"] - 1) + 0.01 * settings["seed"]
    right = round(1000 * accuracy)
    config = {
        **{"flags": settings, "class_counts": [50, 1], "class_weights": [0.5, 1.5]},
        "class_names": ["a", "b"],
    }
    metrics = {
        **{"accuracy": accuracy, "balanced_accuracy": accuracy, "few_accuracy": None},
        **{"loss": 1.0, "epochs": settings["train_epochs"], "train_seconds": 1.0},
        **{"images_per_second": 2.0, "per_class_accuracy": [accuracy, accuracy]},
        "confusion_matrix": [[right, 1000 - right], [1000 - right, right]],
    }
    return {
        "config.json": json.dumps(config),
        "history.csv": "epoch\n1\n",
        "metrics.json": json.dumps(metrics),
    }


def train(job):
    """Leaves in the folder of a job what was prepared for it."""
    with open("calls.txt", "a") as file:
        print(job.name, file=file)
    job.folder.mkdir(parents=True)
    for name, text in json.loads(pathlib.Path("prepared.json").read_text())[job.name].items():
        (job.folder / name).write_text(text)


def launch(jobs, slots, retries, on_change, on_poll):
    """A launcher that trains nothing, and does so in this process; cells in broken.txt fail."""
    del slots, retries
    for job in jobs:
        if job.state == "waiting":
            job.state, job.attempts = "running", 1
            on_change(job)
            if job.name in pathlib.Path("broken.txt").read_text().split():
                job.state, job.reason = "failed", "exit status 2: error: the training diverged"
            else:
                train(job)
                job.state = "done"
            on_change(job)
            on_poll()


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working directory in which the stand-in of a launcher launches."""
    (tmp_path / "broken.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(LAUNCHERS, "local", launch)
    return tmp_path


def prepare(*arguments):
    """Writes what the trainings of a sweep are to leave; returns the sweep."""
    with flagsaver.flagsaver():
        flags.FLAGS(["sweep", *arguments])
        made = sweep.plan()
    prepared = {
        job.name: files(train_flags.recorded(checked(cell.settings)))
        for cell, job in zip(made.cells, made.jobs, strict=True)
    }
    with open("prepared.json", "w") as file:
        json.dump(prepared, file)
    return made


def run(*arguments):
    made = prepare(*arguments)
    call(sweep.main, *arguments)
    return made


def calls(work):
    return (work / "calls.txt").read_text().split()


def rows(folder):
    with open(folder / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


TABLE_2 = ("--table=2", "--output_dir=out", "--dataset=digits", "--train_epochs=20")


def test_every_cell_is_trained_once_and_stands_in_the_tables(work, capsys):
    made = run(*TABLE_2, "--seeds=0,1")
    assert calls(work) == [job.name for job in made.jobs]
    assert len(rows(work / "out")) == 24
    text = (work / "out" / "table2.md").read_text()
    assert "| focal | .6050 ± .0071 | .7050 ± .0071 | .6550 ± .0071 | .6050 ± .0071 |" in text
    assert text in capsys.readouterr().out
    # What the stand-in says has none > squared nowhere.
    assert "undecided, within the spread, for softmax (none" in text


def test_cells_run_in_processes_of_their_own_and_one_that_failed_is_tried_again(
    work, monkeypatch, capsys
):
    (work / "experiments").mkdir()
    (work / "experiments" / "train.py").write_text(textwrap.dedent(TRAINER))
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(local, "POLL_SECONDS", 0.02)
    monkeypatch.setitem(LAUNCHERS, "local", local.run)
    arguments = ("--grid=cb_power=0,1", *TABLE_2[1:], "--retries=0")
    bad, _ = prepare(*arguments).jobs
    (work / "broken.txt").write_text(bad.name)
    with pytest.raises(SystemExit):
        call(sweep.main, *arguments)
    assert f"failed: {bad.name}: exit status 1: error: the training" in capsys.readouterr().err
    (work / "broken.txt").write_text("")
    call(sweep.main, *arguments)
    assert [row["cb_power"] for row in rows(work / "out")] == ["0.0", "1.0"]


def test_a_grid_is_trained_continued_and_tabulated_with_a_column_for_each_of_its_flags(work):
    grid = ("--grid=cb_power=0,1;depth=8,14", *TABLE_2[1:])
    made = run(*grid)
    assert [job.name.rpartition("seed0")[2] for job in made.jobs] == ["_depth=8", "_depth=14"] * 2
    assert list(rows(work / "out")[0])[-1] == "depth"
    found = [(row["cb_power"], row["depth"]) for row in rows(work / "out")]
    assert found == [("0.0", "14"), ("0.0", "8"), ("1.0", "14"), ("1.0", "8")]
    text = (work / "out" / "grid.md").read_text()
    assert text.startswith("# Grid of cb_power and depth: digits, seed 0\n")
    assert "| cb_power | depth 8 | depth 14 |\n|---|---|---|\n| 0 | .6000 | .6000 |" in text
    assert "depth 8 instead of" not in text
    assert "- digits: the most accurate cell is cb_power 1, depth 8 (.7000)." in text
    shutil.rmtree(made.jobs[2].folder)
    (work / "calls.txt").unlink()
    run(*grid)
    assert calls(work) == [made.jobs[2].name]
    # A table next to it keeps the grid's runs and their column.
    run(*TABLE_2)
    assert len(rows(work / "out")) == 4 + 12
    assert {row["depth"] for row in rows(work / "out")} == {"8", "14", "32"}
    run("--grid=depth=20", *TABLE_2[1:])
    assert len(rows(work / "out")) == 4 + 12 + 1


def test_a_grid_of_epochs_says_nothing_of_them_but_the_other_differences(work):
    run("--grid=train_epochs=20,30;imbalance_factor=0.02,1", *TABLE_2[1:3])
    text = (work / "out" / "grid.md").read_text()
    assert "Not the published protocol: dataset digits instead of cifar10." in text
    assert {row["epochs"] for row in rows(work / "out")} == {"20", "30"}


def test_the_same_command_trains_only_what_is_missing(work):
    made = run(*TABLE_2)
    before = (work / "out" / "results.csv").read_text()
    gone = made.jobs[5]
    for path in gone.folder.iterdir():
        path.unlink()
    gone.folder.rmdir()
    (work / "calls.txt").unlink()
    run(*TABLE_2)
    assert calls(work) == [gone.name]
    assert (work / "out" / "results.csv").read_text() == before


def test_a_finished_cell_with_foreign_figures_is_refused_before_anything_is_done(work):
    made = run(*TABLE_2)
    before = (work / "out" / "results.csv").read_text()
    (made.jobs[3].folder / "metrics.json").write_text('{"accuracy": 0.5}')
    (made.jobs[5].folder / "metrics.json").unlink()
    (work / "calls.txt").unlink()
    with pytest.raises(UserError, match=r"power2_.*is no finished run of experiments.train"):
        run(*TABLE_2)
    assert not (work / "calls.txt").exists()
    assert (work / "out" / "results.csv").read_text() == before


def test_a_copy_of_a_run_counts_once_and_is_told(work, capsys):
    job = run(*TABLE_2).jobs[4]
    before = (work / "out" / "results.csv").read_text()
    names = ["a", f"{job.name}.bak", f"old_{job.name}"]
    for name in names:
        shutil.copytree(job.folder, job.folder.with_name(name))
    capsys.readouterr()
    run(*TABLE_2)
    assert (work / "out" / "results.csv").read_text() == before
    told = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert [line.split(",")[0] for line in told] == [
        f"left out of results.csv: {job.folder.with_name(name)}" for name in names
    ]


def test_an_edited_accuracy_gets_into_no_table(work):
    made = run(*TABLE_2)
    path = made.jobs[3].folder / "metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "accuracy": 0.99}))
    before = (work / "out" / "table2.md").read_text()
    with pytest.raises(UserError, match=r"`accuracy` is 0\.99, but its confusion_matrix"):
        run(*TABLE_2)
    assert (work / "out" / "table2.md").read_text() == before


def test_the_flags_that_are_not_varied_reach_every_cell(work):
    made = prepare(*TABLE_2, "--momentum=0.8", "--lr_boundaries=0.5,0.7", "--plots=false")
    for cell, job in zip(made.cells, made.jobs, strict=True):
        with flagsaver.flagsaver():
            flags.FLAGS(["train", *job.arguments])
            given = checked_settings()
        expected = {**checked(cell.settings), "output_dir": str(job.folder)}
        assert given == {**expected, "resume": True}
        assert (given["momentum"], given["lr_boundaries"]) == (0.8, [0.5, 0.7])
        assert given["plots"] is False


def test_a_folder_whose_name_begins_with_a_tilde_is_that_of_every_cell(work):
    made = prepare(TABLE_2[0], "--output_dir=./~out", *TABLE_2[2:])
    for job in made.jobs:
        with flagsaver.flagsaver():
            flags.FLAGS(["train", *job.arguments])
            given = pathlib.Path(checked_settings()["output_dir"])
        assert given == job.folder == work / "~out" / "runs" / job.name


def test_gamma_for_another_loss_than_focal_is_refused_in_a_power_curve(work):
    with pytest.raises(UserError, match=r"--gamma=2.0 has no effect on --loss=softmax"):
        run("--table=power", *TABLE_2[1:], "--loss=softmax", "--gamma=2")


def test_two_tables_share_the_cells_that_they_have_in_common(work):
    run(*TABLE_2)
    (work / "calls.txt").unlink()
    run("--table=1", *TABLE_2[1:])
    assert len(calls(work)) == 3  # the balanced ones: plain and long-tailed is table 2's power 0
    assert all("factor1_" in name for name in calls(work))
    assert len(rows(work / "out")) == 15
    assert (work / "out" / "table1.md").exists()
    assert (work / "out" / "table2.md").exists()


def test_the_power_curve_is_of_the_loss_and_the_beta_that_are_given(work):
    run("--table=power", *TABLE_2[1:], "--loss=sigmoid", "--cb_beta=0.99")
    found = rows(work / "out")
    assert {(r["loss"], r["cb_beta"]) for r in found} == {("sigmoid", "0.99")}
    assert [float(r["cb_power"]) for r in found] == list(power.POWERS)
    text = (work / "out" / "power.md").read_text()
    assert "the most accurate power is 1 (.7000)" in text


def test_a_failing_cell_is_reported_and_the_rest_is_finished(work, capsys):
    made = prepare(*TABLE_2)
    bad = made.jobs[3]
    (work / "broken.txt").write_text(bad.name)
    with pytest.raises(SystemExit) as caught:
        call(sweep.main, *TABLE_2)
    assert caught.value.code == 1
    errors = capsys.readouterr().err
    assert f"failed: {bad.name}: exit status 2: error: the training diverged" in errors
    assert "1 of 12 cells failed; the same command tries them again." in errors
    assert len(rows(work / "out")) == 11
    assert "1 of 12 runs are not finished yet." in (work / "out" / "table2.md").read_text()

    (work / "broken.txt").write_text("")
    call(sweep.main, *TABLE_2)
    assert calls(work)[-1] == bad.name
    assert len(rows(work / "out")) == 12


def test_the_differences_from_the_published_protocol_are_stated(work):
    run(
        *("--table=1", "--output_dir=out", "--dataset=digits", "--train_epochs=20"),
        *("--balanced_epochs=8", "--batch_size=64"),
    )
    text = (work / "out" / "table1.md").read_text()
    assert (
        "Not the published protocol: 20 epochs instead of 200, 8 epochs for the balanced cells, "
        "dataset digits instead of cifar10, batch_size 64 instead of 128."
    ) in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds=0"], "--table is missing: 1, 2 or power; --grid has a table of your own"),
        (["--table=2", "--grid=gamma=1"], "--table and --grid can't be given together"),
        (["--grid=gamma=1,2", "--gamma=1"], "--gamma can't be given with --grid, which varies it"),
        (["--grid=gama=1"], "did you mean gamma?"),
        (["--grid=gamma=1,2", "--balanced_epochs=3"], "belongs to --table=1"),
        (
            ["--grid=gamma=1,-2", "--loss=focal"],
            "the cell gamma=-2: --gamma: `gamma` must be a finite number >= 0, got -2.0",
        ),
        (
            ["--grid=loss=focal,softmax;gamma=1,2"],
            "the cell loss=softmax, gamma=2: --gamma=2.0 has no effect on --loss=softmax",
        ),
        (
            ["--grid=depth=8,9,10", "--seeds=0,1"],
            "the cell depth=9, seed=0 and 1 other: --depth must be 6n + 2",
        ),
        (
            ["--grid=lr_boundaries=0.5|0.50"],
            "the cells lr_boundaries=0.5 and lr_boundaries=0.50 are one run,",
        ),
        (["--grid=gamma=1,2", "--depth=9", "--loss=focal"], "--depth must be 6n + 2"),
        (["--grid=seed=0,1"], "use --seeds"),
        (
            [f"--grid=learning_rate={','.join(map(str, range(1, 502)))}", "--seeds=0,1"],
            "--grid has 1002 cells, the seeds counted",
        ),
        (["--table=2"], "--output_dir is missing: the folder of the sweep"),
        (["--table=2", "--loss=focal"], "--loss can't be given with --table=2"),
        (["--table=1", "--cb_power=1"], "--cb_power can't be given with --table=1"),
        (["--table=power", "--cb_power=1"], "--cb_power can't be given with --table=power"),
        (["--table=2", "--seed=1"], "use --seeds"),
        (["--table=2", "--seeds=0,a"], "--seeds must be different whole numbers"),
        (["--table=2", "--seeds=1,1"], "--seeds must be different whole numbers"),
        (["--table=2", "--seeds=-1"], "--seed must be in [0, 2^31), got -1"),
        (["--table=2", "--seeds="], "--seeds must be different whole numbers"),
        (["--table=2", "--jobs=0"], "--jobs must be between 1 and"),
        (["--table=2", "--jobs=100000"], "--jobs must be between 1 and"),
        (["--table=2", "--retries=-1"], "--retries must be at least 0"),
        (["--table=2", "--balanced_epochs=3"], "it must be at least 1, and belongs to --table=1"),
        (["--table=1", "--balanced_epochs=0"], "it must be at least 1"),
        (["--table=1", "--imbalance_factor=1"], "--imbalance_factor below 1"),
        (["--table=1", "--dataset=tfds:mine"], "--imbalance_factor below 1"),
        (["--table=2", "--depth=9"], "--depth must be 6n + 2"),
        (["--table=2", "--noresume"], "--noresume can't be given to a sweep"),
    ],
)
def test_flags_that_are_wrong_are_refused_before_anything_is_written(work, arguments, message):
    if arguments != ["--table=2"]:
        arguments = [*arguments, "--output_dir=out"]
    with pytest.raises(UserError) as caught:
        call(sweep.main, *arguments)
    assert message in str(caught.value)
    assert not (work / "out").exists()
    assert not (work / "calls.txt").exists()


def test_a_folder_that_can_not_be_made_is_refused(work):
    (work / "file").write_text("not a folder")
    with pytest.raises(UserError, match="--output_dir=file/out can't be written"):
        run(*TABLE_2[:1], "--output_dir=file/out", "--dataset=digits")


def test_a_folder_with_runs_of_other_settings_is_refused_by_name(work):
    run(*TABLE_2)
    before = (work / "out" / "results.csv").read_bytes()
    for arguments in (TABLE_2, ("--table=1", *TABLE_2[1:])):
        with pytest.raises(UserError) as caught:
            call(sweep.main, *arguments, "--momentum=0.8")
        assert "--momentum is 0.9 there, 0.8 here" in str(caught.value)
    assert (work / "out" / "results.csv").read_bytes() == before


def change(path, **changes):
    """Changes keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def record_data(job, data):
    """Lets the run of a job have been trained on these data."""
    change(job.folder / "config.json", data=data)


def test_runs_on_different_data_are_never_put_into_one_table(work):
    made = run(*TABLE_2)
    before = (work / "out" / "table2.md").read_bytes()
    data = {"name": "digits", "train": {"images": 20, "labels": "a", "pixels": "b"}}
    for job in made.jobs[1:]:  # the first is of an older version, which recorded none
        record_data(job, data)
    run(*TABLE_2)
    record_data(made.jobs[5], {**data, "train": {**data["train"], "pixels": "c"}})
    with pytest.raises(UserError, match=r"different data \(other pixels in the train images\)"):
        run(*TABLE_2)
    assert (work / "out" / "table2.md").read_bytes() == before


def test_runs_whose_shot_groups_follow_another_rule_are_tabulated_by_the_rule_of_today(work):
    made = run(*TABLE_2, "--seeds=0,1")
    document = work / "out" / "table2.md"
    assert "by one rule" not in document.read_text()
    # Of classes of 90, 30, 30 and 30 images the older rule called one of the smallest medium.
    for job, old in zip(made.jobs, [True, False] * 12, strict=True):
        groups = {"many": [0, 1], "medium": [2], "few": [3]} if old else {}
        groups = groups or {"many": [0], "medium": [], "few": [1, 2, 3]}
        recalls = [0.9, 0.8, 0.7, 0.3]
        confusion = [[0] * 4 for _ in recalls]
        for c, recall in enumerate(recalls):
            confusion[c][c] = round(100 * recall)
            confusion[c][(c + 1) % 4] = 100 - confusion[c][c]
        of_group = {g: [recalls[c] for c in ids] for g, ids in groups.items()}
        change(
            job.folder / "config.json",
            class_counts=[90, 30, 30, 30],
            class_weights=[1.0] * 4,
            class_names=list("abcd"),
            shot_rule="thirds" if old else "moved_thirds",
            shot_groups=groups,
        )
        change(
            job.folder / "metrics.json",
            **{f"{g}_accuracy": sum(r) / len(r) if r else None for g, r in of_group.items()},
            accuracy=0.675,
            balanced_accuracy=0.675,
            per_class_accuracy=recalls,
            confusion_matrix=confusion,
        )
    run(*TABLE_2, "--seeds=0,1")
    assert {row["few_accuracy"] for row in rows(work / "out")} == {str((0.8 + 0.7 + 0.3) / 3)}
    text = document.read_text()
    assert "| softmax | .6000 ± .0000 |" in text
    assert "that of today; 12 runs recorded them by another (thirds)." in text


def test_a_sweep_is_not_continued_on_a_newer_version_of_its_data(work, write_tfds):
    arguments = ("--table=2", "--output_dir=out", "--dataset=tfds:tiny", "--data_dir=data")
    write_tfds(work / "data", "tiny", {"train": slice(0, 20), "test": slice(0, 5)}, "1.1.0")
    made = run(*arguments)
    assert "long_tail natural instead of exponential" in (work / "out" / "table2.md").read_text()
    for job in made.jobs:
        record_data(job, {"name": "tfds:tiny:1.0.0"})
    run(*arguments)  # only writes the tables again
    (made.jobs[3].folder / "metrics.json").unlink()
    (work / "calls.txt").unlink()
    with pytest.raises(UserError) as caught:
        run(*arguments)
    assert "the data set is tfds:tiny:1.0.0 there, tfds:tiny:1.1.0 here" in str(caught.value)
    assert "mix: point --data_dir at the data of the runs that are there," in str(caught.value)
    assert not (work / "calls.txt").exists()


def test_two_sweeps_do_not_work_in_one_folder(work, monkeypatch):
    (work / "out").mkdir()
    held = Lock(work / "out")
    monkeypatch.setattr(Lock.__init__, "__defaults__", (0.1,))
    with pytest.raises(UserError, match="another process is at work in out"):
        run(*TABLE_2)
    held.release()
    run(*TABLE_2)


def test_an_interrupt_says_how_far_it_got_and_how_to_go_on(work, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setitem(LAUNCHERS, "local", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(*TABLE_2)
    assert "stopped: 0 of 12 cells done; the same command continues" in capsys.readouterr().err
