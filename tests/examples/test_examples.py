"""The programs of examples/ run, on real data, and show what they are there to show."""

import os
import re
import subprocess
import sys

import pytest

from tests.source_files import ROOT

FOLDER = ROOT / "examples"
# What each must say, in words and figures: the second figure above the first.
SHOWS = {
    "imbalanced_table": r"plain: recall of malignant (\S+),[\s\S]*class-balanced: \D+(\S+),",
    "several_labels": r"plain: macro-F1 (\S+) .*\nclass-balanced: macro-F1 (\S+)",
    "void_pixels": r"plain: .*digits (\S+)\n.*square root: .*digits (\S+)",
    "text_by_package": r"power 0.0: .*balanced_accuracy (\S+),.*\n.* .*balanced_accuracy (\S+),",
    "pytorch_loop": r"power 0.0: .*rare half (\S+)\npower 0.5: .*rare half (\S+)",
    "jax_loop": r"power 0.0: .*rare half (\S+)\npower 0.5: .*rare half (\S+)",
    "tune_with_optuna": r"plain: balanced accuracy \D+(\S+)\nchosen: balanced accuracy \D+(\S+)",
    "balanced_batches": r"power 0.0: .*half (\S+)\n[\s\S]*\npower 1.0: .*half (\S+)",
    "several_outputs": None,
    "image_folder": None,
}


def test_every_example_is_run_here():
    assert {path.stem for path in FOLDER.glob("*.py")} == {*SHOWS, "mosaics"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWS)
def test_an_example_runs_and_the_weights_help_the_rare_classes(name):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow"}
    run = subprocess.run(
        [sys.executable, FOLDER / f"{name}.py"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    if SHOWS[name]:
        found = re.search(SHOWS[name], run.stdout)
        assert found, run.stdout
        plain, weighted = (float(figure.rstrip(",")) for figure in found.groups())
        assert weighted > plain
    else:
        figures = [float(x) for x in re.findall(r"balanced.accuracy\D*(\d\.\d+)", run.stdout)]
        assert figures
        assert min(figures) > 0.5, run.stdout
