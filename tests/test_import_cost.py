"""What `import cb_keras` loads and how long it takes, beside `import keras`, in fresh processes."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PROCESSES = 3
SCRIPT = """
import json, sys, time

times, loaded = [time.perf_counter()], [set(sys.modules)]
for name in ("keras", "cb_keras"):
    __import__(name)
    times.append(time.perf_counter())
    loaded.append(set(sys.modules))
report = {
    "keras seconds": times[1] - times[0],
    "cb_keras seconds": times[2] - times[1],
    "added by keras": sorted(loaded[1] - loaded[0]),
    "added by cb_keras": sorted(loaded[2] - loaded[1]),
}
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def reports():
    """What each process said; Keras comes first in it, so only the addition is ours."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", SCRIPT],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                check=True,
                timeout=300,
            ).stdout
        )
        for _ in range(PROCESSES)
    ]


def top_level(modules):
    return {name.split(".")[0] for name in modules}


def test_importing_cb_keras_after_keras_loads_nothing_but_cb_keras(reports):
    """Not tensorflow_datasets, matplotlib, scikit-learn or absl, nor the experiments."""
    for report in reports:
        added = report["added by cb_keras"]
        assert {"cb_keras", "cb_keras.losses.class_balanced"} <= set(added)
        assert top_level(added) - sys.stdlib_module_names == {"cb_keras"}
        # Some of those may be Keras' own doing (its scikit-learn wrappers), but not these.
        assert not top_level(report["added by keras"]) & {"tensorflow_datasets", "experiments"}


def test_importing_cb_keras_takes_at_most_a_tenth_longer_than_importing_keras(reports):
    """The least of several ratios within one process each, so that a busy machine does not fail."""
    ratios = [1 + report["cb_keras seconds"] / report["keras seconds"] for report in reports]
    assert min(ratios) <= 1.10, ratios
