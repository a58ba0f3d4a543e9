"""What an import loads and does, in a fresh process: cb_keras, and rooms without TensorFlow."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests import HANG_SECONDS
from tests.source_files import python_files

ROOT = pathlib.Path(__file__).parent.parent
ROOMS = ("backbones", "cli", "methods", "runs", "reporting")
LIGHT = tuple(f"experiments.{room}" for room in ROOMS)
SCRIPT = """
import json, sys

calls, loaded = 0, [set(sys.modules)]

def count(frame, event, argument):
    global calls
    calls += event in ("call", "c_call")

import keras
loaded.append(set(sys.modules))
sys.setprofile(count)
import cb_keras
sys.setprofile(None)
loaded.append(set(sys.modules))
report = {
    "calls": calls,
    "added by keras": sorted(loaded[1] - loaded[0]),
    "added by cb_keras": sorted(loaded[2] - loaded[1]),
}
print(json.dumps(report))
"""
ONE_AFTER_ANOTHER = """
import importlib, json, sys

report = {}
for name in sys.argv[1:]:
    before = set(sys.modules)
    importlib.import_module(name)
    report[name] = sorted({"tensorflow", "keras", "cb_keras"} & (set(sys.modules) - before))
print(json.dumps(report))
"""


def run(*arguments):
    """What a fresh process prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
        timeout=HANG_SECONDS,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def report():
    """What a process said; Keras comes first in it, so only the addition is ours."""
    return run(SCRIPT)


def top_level(modules):
    return {name.split(".")[0] for name in modules}


def test_importing_cb_keras_after_keras_loads_nothing_but_cb_keras(report):
    """Not tensorflow_datasets, matplotlib, scikit-learn or absl, nor the experiments."""
    added = report["added by cb_keras"]
    assert {"cb_keras", "cb_keras.losses.softmax"} <= set(added)
    assert top_level(added) - sys.stdlib_module_names == {"cb_keras"}
    # Some of those may be Keras' own doing (its scikit-learn wrappers), but not these.
    assert not top_level(report["added by keras"]) & {"tensorflow_datasets", "experiments"}


def test_importing_cb_keras_makes_no_more_than_a_hundredth_of_the_calls_of_importing_keras(report):
    """Counted, as time depends on the machine. With TensorFlow, Keras 3.15 makes 6.7 million."""
    assert 0 < report["calls"] < 6_700_000 / 100


WITHOUT_A_BACKEND = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in ("tensorflow", "jax", "torch"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import cb_keras.losses
"""


def test_without_a_backend_the_message_is_keras_own_and_names_what_to_install():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_BACKEND],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow"},
        stderr=subprocess.PIPE,
        text=True,
        timeout=HANG_SECONDS,
    )
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert message.startswith("ImportError: No module named 'tensorflow'. ")
    assert "pip install 'cb_keras[tensorflow]', or [jax] or [torch] with KERAS_BACKEND" in message


def test_flags_methods_runs_and_reports_are_there_without_tensorflow_keras_and_cb_keras():
    rooms = [f.module for f in python_files() if ".".join(f.module.split(".")[:2]) in LIGHT]
    assert {*LIGHT, "experiments.methods.class_balanced"} <= set(rooms)
    report = run(ONE_AFTER_ANOTHER, *rooms, "experiments.training.flags")
    assert {name: loaded for name, loaded in report.items() if loaded} == {}
