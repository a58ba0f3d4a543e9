"""A training killed again and again, in the middle of writing too, ends as one never killed."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.experiments.cases import SHORT, Run, assert_same

ROOT = pathlib.Path(__file__).parents[3]
KILLS = int(os.environ.get("CB_KERAS_KILLS", "10"))  # of each precision
FLAGS = (*SHORT, "--train_epochs=8")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_killed_trainings_end_bitwise_as_the_one_that_was_not_killed(
    precision, train_short, tmp_path
):
    flags = (*FLAGS, f"--precision={precision}")
    whole = train_short(tmp_path / "whole", *flags)
    folder = tmp_path / "killed"
    folder.mkdir()
    command = [sys.executable, "-m", "tests.experiments.kills", folder, KILLS, 0, *flags]
    finished = subprocess.run(
        list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    report = json.loads(finished.stdout.splitlines()[-1])
    print(json.dumps(report, indent=1))
    assert sum(report["kills"].values()) == KILLS
    assert min(report["kills"].values()) >= KILLS // 2
    assert len(list(folder.glob("run*"))) == report["runs"]
    for path in folder.glob("run*"):
        assert_same(Run(path), whole)
        assert not list(path.rglob(".unfinished-*"))
