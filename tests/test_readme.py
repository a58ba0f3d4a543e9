"""The README's scripts are run as they stand, each in a process of its own."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests import HANG_SECONDS

ROOT = pathlib.Path(__file__).parent.parent


def scripts():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [block for block in blocks if "load_digits" in block]


def run(script, folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=HANG_SECONDS,
    ).stdout


@pytest.mark.slow
def test_a_foreign_script_trains_saves_and_another_process_loads_and_trains_on(tmp_path):
    train, train_on = scripts()
    output = run(train, tmp_path)
    balanced_accuracy = float(re.search(r"'balanced_accuracy': ([\d.]+)", output).group(1))
    assert balanced_accuracy > 0.5  # chance is 0.1
    output = run(train_on, tmp_path)
    assert "class_balanced_focal_crossentropy [150, 97, 62," in output
    assert "loss: nan" not in output
    # The trained weights came along: a fresh model has an accuracy near 0.1 in its first epoch.
    assert float(re.search(r"accuracy: ([\d.]+)", output).group(1)) > 0.6
