"""What a sweep runs and what it writes, with a stand-in for the launcher.

tests/experiments/sweeps/test_sweep_training.py runs real trainings.
"""

import json
import pathlib
import re
import shlex
import shutil
import sys
import textwrap

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import sweep
from experiments.sweeps.launchers import LAUNCHERS, local
from experiments.sweeps.tables import power
from experiments.training.settings import checked, checked_settings
from tests.experiments.cases import call
from tests.experiments.sweeps.cases import (
    TABLE_2,
    TRAINER,
    calls,
    change,
    launch,
    prepare,
    rows,
    run,
)


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


def test_a_grid_of_imbalance_factors_cuts_data_that_have_a_tail_of_their_own(work):
    made = prepare("--grid=imbalance_factor=0.02,0.1", "--dataset=tfds:mine", "--output_dir=out")
    assert {cell.settings["long_tail"] for cell in made.cells} == {"exponential"}
    assert [job.name.split("_")[2] for job in made.jobs] == ["factor0.02", "factor0.1"]


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


def test_what_is_left_to_train_refuses_other_data_than_a_finished_cell_had(work, monkeypatch):
    given = []

    def remember(jobs, slots, retries, on_change, on_poll):
        for job in jobs:
            given.append(job.arguments[-1])
            launch([job], slots, retries, on_change, on_poll)

    monkeypatch.setitem(LAUNCHERS, "local", remember)
    first, *others = run(*TABLE_2).jobs
    tied = f"--same_data_as=out/runs/{first.name}"
    assert given[0] == first.arguments[-1] != tied
    assert given[1:] == [tied] * len(others)
    given.clear()
    shutil.rmtree(others[3].folder)
    run(*TABLE_2)
    assert given[4] == tied


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


def test_an_interrupt_says_how_far_it_got_and_how_to_go_on(work, monkeypatch):
    def interrupt(jobs, *_):
        job = jobs[1]
        job.state = "running"
        (job.folder / "checkpoint").mkdir(parents=True)
        header = np.array(json.dumps({"epochs_done": 4}))
        np.savez(job.folder / "checkpoint" / "state.npz", header=header)
        raise KeyboardInterrupt

    monkeypatch.setitem(LAUNCHERS, "local", interrupt)
    monkeypatch.setattr(sys, "argv", ["sweep.py", *TABLE_2, "--output_dir=a folder"])
    with pytest.raises(KeyboardInterrupt) as stopped:
        run(*TABLE_2)
    summary, saved, how, command = str(stopped.value).splitlines()
    assert summary == "0 of 12 cells done, 1 running"
    assert re.fullmatch(r"  digits_.*softmax_power1.*: epoch 4 of \d+ is saved", saved)
    assert (how, command.split()[:3]) == ("  go on with", ["python", "-m", "experiments.sweep"])
    assert shlex.split(command)[3:] == sys.argv[1:]
