"""Stage: are the kernels right on this GPU? Their checks, also under compute-sanitizer.

Without a GPU the kernels run in the emulation of one, under ASan and UBSan.
"""

import functools
import os
import re
import shutil

from benchmarks.gpu.packing import CHECK, DIGEST, digest
from benchmarks.gpu.stages import StepFailed

_TOOLS = ("memcheck", "racecheck", "synccheck")
_TOOL_SECONDS = 60.0  # of each, side by side


def run(stage):
    """Builds the check and the core library, and runs every check."""
    kit = stage.kit
    binary = kit.work / CHECK
    what = "cuda" if kit.gpu else "emulation"
    if kit.gpu:
        stage.step("gpu", lambda: gpu(stage))
    if not binary.exists():  # of an earlier call that a fresh machine has not
        stage.saved["steps"].pop("build", None)
    stage.together(
        {"build": lambda: _built(stage, what, binary), "core": lambda: _core(stage)},
        at_once=None if kit.gpu else 1,
    )
    if not kit.gpu:
        shapes = ["--far-only"] if kit.small else []
        stage.step("emulated", lambda: _checked(stage, binary, "--seed=1", *shapes))
        return
    stage.step("checks", lambda: _checked(stage, binary, "--checks-only"))
    stage.step("more than 2^31 elements", lambda: _checked(stage, binary, "--far-only"))
    stage.together({tool: functools.partial(_sanitized, stage, tool, binary) for tool in _TOOLS})


def gpu(stage):
    """Name, driver and architecture of the GPU."""
    query = "--query-gpu=name,driver_version,compute_cap,memory.total"
    line = stage.run("nvidia-smi", query, "--format=csv,noheader").splitlines()[0]
    name, driver, architecture, memory = (part.strip() for part in line.split(","))
    return {"name": name, "driver": driver, "architecture": architecture, "memory": memory}


def cuda_tool(name):
    """Path of a program of the CUDA toolkit; its name where it is not found."""
    homes = [os.environ.get("CUDA_HOME"), "/usr/local/cuda"]
    paths = [name, *(f"{home}/bin/{name}" for home in homes if home)]
    return next(filter(None, map(shutil.which, paths)), name)


def _built(stage, what, binary):
    known = binary.with_name(DIGEST)
    packed = binary.exists() and known.exists() and known.read_text() == digest()
    if not packed:
        known.unlink(missing_ok=True)
        stage.run("python", "-m", "ops.check.build", what, binary)
    return {"bytes": binary.stat().st_size}


def _core(stage):
    code = "from cb_keras.fused import core; core.build(); print('core:', core.find()[1])"
    said = stage.run("python", "-c", code)
    return {"core": said.rpartition("core:")[2].strip().rpartition("(")[2].rstrip(")")}


def _checked(stage, *command, seconds=None):
    """How many checks passed."""
    said = stage.run(*command, seconds=seconds)
    found = re.search(r"(\d+) checks passed, 0 failed", said)
    if not found or int(found[1]) == 0:
        raise StepFailed(f"no checks: {said[-1000:]}")
    return {"passed": int(found[1])}


def _sanitized(stage, tool, binary):
    """How many checks passed of the small selection, under a tool that found nothing."""
    options = ["--tool", tool, "--error-exitcode", "9", binary, "--sanitized"]
    return _checked(stage, cuda_tool("compute-sanitizer"), *options, seconds=_TOOL_SECONDS)
