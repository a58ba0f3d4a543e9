"""A real sweep, killed with SIGKILL at random moments and started again, loses nothing."""

import csv
import json
import os
import pathlib
import random
import subprocess
import sys
import time

import numpy as np
import pytest

from experiments.sweeps import runner
from tests.experiments.conftest import SHORT, Run, alive, wait_for
from tests.experiments.runs.test_record import contents
from tests.experiments.training.test_train_kills import assert_same

ROOT = pathlib.Path(__file__).parents[3]
KILLS = int(os.environ.get("CB_KERAS_SWEEP_KILLS", "2"))
JOBS = min(2, len(os.sched_getaffinity(0)))
FLAGS = [flag for flag in SHORT if not flag.startswith(("--loss", "--train_epochs"))]


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
            assert "squared" in path.read_text() or "softmax" in path.read_text().splitlines()[-1]
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
            preexec_fn=lambda: os.sched_setaffinity(0, runner.core_shares(JOBS)[0]),
        )
        assert_same(Run(cell), Run(whole))
