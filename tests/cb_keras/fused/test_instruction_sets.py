"""The CPU kernels of every instruction set; a process chooses once, so each has its own.

The values are those of test_values.py and test_inputs.py, whose tests run in that process.
"""

import os
import pathlib
import platform

import pytest

from cb_keras import fused
from tests.fused_library import require_tensorflow, run_python

require_tensorflow()
pytestmark = pytest.mark.usefixtures("fused_op")

# What /proc/cpuinfo must list. The first is what every x86-64 processor has.
NEEDS = {
    "baseline": set(),
    "avx2": {"avx2", "fma", "bmi1", "bmi2", "f16c"},
    "avx512": {"avx2", "fma", "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}
CHOSEN = (
    "float64 or low_precision or ten_thousand or nan_logit or masked "
    "or (caches and focal and float32)"
)
RUN_TESTS = """
import sys
import pytest
from cb_keras import fused

print(fused.status())
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", *sys.argv[1:]]))
"""


def available():
    """The instruction sets of this processor, the best last."""
    info = pathlib.Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not info.exists():
        return ["baseline"]
    flags = set(next(x for x in info.read_text().splitlines() if x.startswith("flags")).split())
    return [name for name, needed in NEEDS.items() if needed <= flags]


@pytest.mark.parametrize(
    "name", [*(pytest.param(x, marks=pytest.mark.slow) for x in ("baseline", "avx2")), "avx512"]
)
def test_the_kernels_of_every_instruction_set_give_the_float64_values(name):
    if name not in available():
        pytest.skip(f"this processor has no {name}")
    if f"(CPU kernels: {name}; " in fused.status():
        pytest.skip("those files test it in this process")
    files = [f"tests/cb_keras/fused/test_{file}.py" for file in ("values", "inputs")]
    process = run_python("-c", RUN_TESTS, *files, "-k", CHOSEN, CB_KERAS_CPU_KERNELS=name)
    assert process.returncode == 0, process.stdout
    assert f"(CPU kernels: {name}; " in process.stdout
    assert "passed" in process.stdout


@pytest.mark.skipif("CB_KERAS_CPU_KERNELS" in os.environ, reason="CB_KERAS_CPU_KERNELS is set")
def test_the_best_instruction_set_is_chosen():
    assert f"(CPU kernels: {available()[-1]}; " in fused.status()
