"""The fused op on JAX where rows are spread over several devices: each works on its own."""

import json

import pytest

from tests.cb_keras.gradients import BACKEND
from tests.fused_library import run_python

pytestmark = [
    pytest.mark.usefixtures("fused_op"),
    pytest.mark.skipif(BACKEND != "jax", reason="this is the fused op on JAX"),
]
FLAGS = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"


@pytest.mark.slow
def test_rows_stay_on_their_device_and_classes_are_brought_together():
    process = run_python("-m", "tests.cb_keras.fused.jax_devices", XLA_FLAGS=FLAGS)
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout.splitlines()[-1])
    assert found.pop("pmap") < 1e-5
    rows = {"rows": 4, "some rows": 8, "classes": 8, "nothing": 16}
    assert len(found) == 3 * len(rows)
    for name, of_spread in found.items():
        spread = name.split(",")[0]
        assert of_spread["error"] < 1e-4, name
        assert of_spread["rows of a call"] == [rows[spread]], name
        assert of_spread["rows of a device"] == rows[spread], name
        assert of_spread["gathered"] == (spread == "classes"), name
