"""Stage: how near are the kernels to a copy? GB/s of each, and the losses on each framework."""

import json

from benchmarks.gpu.packing import CHECK
from benchmarks.gpu.stages import StepFailed

_SIZES = "4096x8142,100000x80,512x1000,1000000x10"
_LOSSES = "softmax,focal"  # one of each family; the kernels alone are timed of all
# Without Keras' own losses, which take as long to compile and are compared on the CPU.
_CONTENDERS = "cb_keras Loss,composed,copy to new memory"
# Step: framework, modes, share of the time that is left. What compiles slowest comes last.
_STEPS = {
    "jax": ("jax", "eager,jit", 0.4),
    "torch, eager": ("torch", "eager", 0.4),
    "torch, compiled": ("torch", "compile", 1.0),
}


def run(stage):
    """Times the kernels alone (on a GPU), then the losses inside JAX and PyTorch."""
    if stage.kit.gpu:
        stage.step("kernels", lambda: _kernels(stage))
    for name, (framework, modes, share) in _STEPS.items():
        stage.step(name, lambda f=framework, m=modes, s=share: _losses(stage, f, m, s * stage.left))


def _kernels(stage):
    """The table of ops/check/cuda_timing.h."""
    file = stage.kit.work / "kernels.json"
    file.unlink(missing_ok=True)
    try:
        stage.run(stage.kit.work / CHECK, "--timing-only", f"--json={file}", seconds=60)
    except StepFailed as error:
        if not file.exists():
            raise
        return {**json.loads(file.read_text()), "incomplete": str(error)}
    return json.loads(file.read_text())


def _losses(stage, framework, modes, seconds):
    """The tables of benchmarks.frameworks for one framework."""
    kit, file = stage.kit, stage.kit.work / f"losses_{framework}.json"
    small = ["--sizes=64x10", "--losses=softmax", "--repetitions=1"] if kit.small else []
    file.unlink(missing_ok=True)
    stage.run(
        *("python", "-m", "benchmarks.frameworks", f"--frameworks={framework}"),
        *(f"--modes={modes}", f"--contenders={_CONTENDERS}", f"--device={kit.device}"),
        *(
            f"--sizes={_SIZES}",
            f"--losses={_LOSSES}",
            "--dtypes=float32,bfloat16",
            "--repetitions=3",
            "--seconds=0.05",
        ),
        *(f"--json={file}", f"--budget={0.9 * seconds:.0f}", *small),
        seconds=seconds,
    )
    found = json.loads(file.read_text())
    if not any(of["milliseconds"] for table in found["tables"] for of in table["figures"]):
        raise StepFailed(f"nothing was timed: {json.dumps(found)[-1000:]}")
    return found
