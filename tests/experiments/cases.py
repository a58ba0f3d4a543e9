"""What several test files share: calls of the programs, and what their runs left."""

import csv
import dataclasses
import json
import pathlib
import time

import numpy as np
import pytest
from absl import app, flags
from absl.testing import flagsaver

from experiments import cli
from tests import HANG_SECONDS

ROOT = pathlib.Path(__file__).parents[2]
DIGITS_PRESET = ROOT / "experiments" / "presets" / "digits.flags"
SHORT = (
    *("--dataset=digits", "--depth=8", "--batch_size=64", "--plots=false", "--loss=focal"),
    *("--train_epochs=2", "--eval_epochs=1", "--warmup_epochs=0.5"),
    *("--lr_boundaries=0.5", "--lr_decay=0.5"),
)
TIMES = ("images_per_second", "train_seconds")


@dataclasses.dataclass
class Run:
    """What a run left in its directory."""

    folder: pathlib.Path

    @property
    def config(self):
        return json.loads((self.folder / "config.json").read_text())

    @property
    def metrics(self):
        return json.loads((self.folder / "metrics.json").read_text())

    @property
    def history(self):
        with open(self.folder / "history.csv", newline="") as file:
            return list(csv.DictReader(file))

    def column(self, name):
        return [float(row[name]) for row in self.history]

    @property
    def variables(self):
        """All variables of the model and the optimizer after the last epoch."""
        with np.load(self.folder / "checkpoint" / "state.npz") as file:
            return [file[f"variable_{i}"] for i in range(len(file.files) - 2)]


def call(main, *arguments):
    """Calls a program's `main` in this process as if these were its flags."""
    with flagsaver.flagsaver():
        main(flags.FLAGS(["program", *map(str, arguments)]))


def wait_for(condition):
    """Returns once the condition holds; only a hang makes it fail."""
    deadline = time.monotonic() + HANG_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(word):
    """Whether a training with this word in its command line is alive."""
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "experiments.train" in command and word in command:
            return True
    return False


def run_program(capsys, main, *arguments):
    """Runs a program here as from a shell; returns its exit status and its one line of errors."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "run", lambda guarded, *_, **__: call(guarded, *arguments))
        with pytest.raises(SystemExit) as caught:
            cli.run(main)
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1, errors
    return caught.value.code, errors[0]


def contents(folder):
    """Content and time of every file."""
    files = sorted(p for p in pathlib.Path(folder).rglob("*") if p.is_file())
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def assert_same(run, whole):
    """Two runs are the same to the last bit, times and rates excepted."""
    for value, expected in zip(run.variables, whole.variables, strict=True):
        np.testing.assert_array_equal(value, expected)

    def without_times(history):
        return [{k: v for k, v in row.items() if k not in TIMES} for row in history]

    assert without_times(run.history) == without_times(whole.history)
    assert set(run.metrics) == set(whole.metrics)
    for name in set(run.metrics) - set(TIMES):
        assert run.metrics[name] == whole.metrics[name]
    assert run.config["flags"] == whole.config["flags"]


# What an export says of itself.
ABOUT = {
    "settings": {"loss": "softmax", "cb_beta": 0.9999, "cb_power": 1.0, "gamma": 1.0},
    **{"dataset": "digits", "class_counts": [5] * 3, "class_names": ["a", "b", "c"]},
    **{"epochs": 1, "train_seconds": 1.0, "images_per_second": None},
}
