"""Sweeps of real trainings: stopped and continued; killed at random moments, they lose nothing."""

import csv
import json
import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest

from experiments import sweep, train
from experiments.sweeps.launchers import LAUNCHERS, local
from tests.experiments.cases import (
    ROOT,
    SHORT,
    Run,
    alive,
    assert_same,
    call,
    contents,
    wait_for,
)

KILLS = int(os.environ.get("CB_KERAS_SWEEP_KILLS", "2"))
JOBS = min(2, len(os.sched_getaffinity(0)))
FLAGS = [flag for flag in SHORT if not flag.startswith(("--loss", "--train_epochs"))]


@pytest.mark.slow
def test_a_sweep_that_was_stopped_trains_what_is_missing_and_nothing_twice(tmp_path, monkeypatch):
    def launch(jobs, slots, retries, on_change, on_poll):
        """Trains the first cell that is missing, in this process, then is stopped."""
        del slots, retries, on_poll
        job = next(job for job in jobs if job.state == "waiting")
        call(train.main, *job.arguments)
        job.state = "done"
        on_change(job)
        if any(job.state == "waiting" for job in jobs):
            raise KeyboardInterrupt

    monkeypatch.setitem(LAUNCHERS, "local", launch)
    folder = tmp_path / "sweep"
    flags = ("--grid=cb_power=0,1;loss=focal", *FLAGS, "--train_epochs=1", f"--output_dir={folder}")
    with pytest.raises(KeyboardInterrupt):
        call(sweep.main, *flags)
    (first,) = finished_cells(folder)
    before = contents(first)
    call(sweep.main, *flags)
    assert contents(first) == before
    check_files(folder)
    with open(folder / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    runs = {run.config["flags"]["cb_power"]: run for run in map(Run, finished_cells(folder))}
    assert [float(row["cb_power"]) for row in rows] == [0.0, 1.0]
    for row in rows:
        metrics = runs[float(row["cb_power"])].metrics
        assert float(row["accuracy"]) == metrics["accuracy"]
        assert float(row["few_accuracy"]) == metrics["few_accuracy"]


def command(folder):
    return [
        *(sys.executable, "-m", "experiments.sweep", "--table=1", f"--jobs={JOBS}"),
        *(f"--seeds={','.join(map(str, range(1 + KILLS // 4)))}", f"--output_dir={folder}"),
        *(*FLAGS, "--train_epochs=20"),
    ]


def finished_cells(folder):
    return {path.parent for path in folder.glob("runs/*/metrics.json")}


def epochs_done(folder):
    return sum(path.read_text().count("\n") for path in folder.glob("runs/*/history.csv"))


def check_files(folder):
    """Every file that is there is whole."""
    for path in folder.rglob("*"):
        if ".unfinished-" in path.name:
            continue  # what was being written has no name yet
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".csv":
            text = path.read_text()
            assert text.endswith("\n")
            assert len({len(row) for row in csv.reader(text.splitlines())}) == 1
        elif path.suffix == ".md":
            assert path.read_text().splitlines()[-1].startswith("- ")
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                assert all(file[name] is not None for name in file.files)
        elif path.suffix == ".keras":
            assert path.stat().st_size > 10_000


@pytest.mark.slow
def test_a_sweep_killed_at_random_moments_loses_no_finished_cell(tmp_path):
    folder = tmp_path / "sweep"
    rng = random.Random(0)
    kept, interrupted, kills = {}, set(), 0
    while kills < KILLS:
        with open(tmp_path / "sweep.log", "ab") as log:
            process = subprocess.Popen(command(folder), cwd=ROOT, stdout=log, stderr=log)
        # Every third kill comes at any time, the others once the trainings have gone on.
        enough = epochs_done(folder) + (rng.randint(1, 12) if kills % 3 != 2 else 0)
        while epochs_done(folder) < enough and process.poll() is None:
            time.sleep(0.05)
        if kills % 3 == 2:
            time.sleep(rng.uniform(0, 8))
        if process.poll() is not None:  # all cells are finished: there is nothing more to kill
            break
        process.kill()
        process.wait()
        kills += 1
        wait_for(lambda: not alive(str(folder)))  # its trainings end with it
        check_files(folder)
        for cell, content in kept.items():
            assert contents(cell) == content
        kept = {cell: contents(cell) for cell in finished_cells(folder)}
        interrupted |= {p.parent for p in folder.glob("runs/*/history.csv")} - set(kept)
    assert kills > 0, (tmp_path / "sweep.log").read_text()[-3000:]
    last = subprocess.run(command(folder), cwd=ROOT, capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr[-3000:]
    for cell, content in kept.items():
        assert contents(cell) == content
    check_files(folder)
    assert not list(folder.rglob(".unfinished-*"))
    with open(folder / "results.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(finished_cells(folder)) == 6 + KILLS // 4 * 6
    assert "not finished" not in (folder / "table1.md").read_text()
    print(f"{kills} kills, {len(kept)} cells finished between them, {len(interrupted)} interrupted")

    for cell in sorted(interrupted)[:1]:
        whole = tmp_path / "whole"
        words = Run(cell).config["command"].split()[1:]
        kept_words = [w for w in words if not w.startswith(("--output_dir", "--resume"))]
        # On as many cores as the cell had: another number adds in another order.
        subprocess.run(
            [sys.executable, *kept_words, f"--output_dir={whole}"],
            cwd=ROOT,
            check=True,
            preexec_fn=lambda: os.sched_setaffinity(0, local.core_shares(JOBS)[0]),
        )
        assert_same(Run(cell), Run(whole))


@pytest.mark.slow
def test_a_row_on_the_networks_of_another_is_trained_and_one_after_the_training_evaluated(tmp_path):
    folder = tmp_path / "sweep"
    own = ("--rows=softmax,post-hoc logit adjustment,cRT", "--validation_fraction=0.2")
    call(sweep.main, "--table=methods", *own, *FLAGS, "--train_epochs=2", f"--output_dir={folder}")
    runs = {run.config["flags"]["method"]: run for run in map(Run, finished_cells(folder))}
    plain, second = runs["class_balanced"], runs["crt"]
    assert second.config["flags"]["first_stage"].startswith(f"{plain.folder.name}: model.keras (")
    after = json.loads((plain.folder / "posthoc_logit_adjustment_tau1.json").read_text())
    assert after["posthoc"] == {"steps": ["logit_adjustment"], "tau": 1.0}
    on_test, on_held_out = (folder / "methods.md").read_text().split("\nBalanced accuracy on the ")
    measured = {
        "softmax": plain.metrics,
        "post-hoc logit adjustment": after,
        "cRT": second.metrics,
    }
    for row, metrics in measured.items():
        for text, expected in (
            (on_test, metrics["accuracy"]),
            (on_held_out, metrics["validation"]["balanced_accuracy"]),
        ):
            (line,) = [line for line in text.splitlines() if line.startswith(f"| {row} |")]
            assert float(line.split("|")[2]) == pytest.approx(expected, abs=1e-4)
