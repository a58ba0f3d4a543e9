"""Stage: how near are the kernels to a copy? GB/s of each, and the losses on each framework."""

import json

_SIZES = "4096x8142,100000x80,512x1000,1000000x10"


def run(stage):
    """Times the kernels alone (on a GPU), then the losses inside PyTorch and JAX."""
    kit = stage.kit
    if kit.gpu:
        stage.step("kernels", lambda: _kernels(stage))
    for name in ("torch", "jax"):
        # A step each: where one framework fails or is slow, the other has its figures.
        stage.step(
            name, lambda name=name: _losses(stage, name, stage.left / (1 + (name == "torch")))
        )


def _kernels(stage):
    """The table of ops/check/cuda_timing.h."""
    file = stage.kit.work / "kernels.json"
    stage.run(stage.kit.work / "cuda_check", "--timing-only", f"--json={file}", seconds=60)
    return json.loads(file.read_text())


def _losses(stage, framework, seconds):
    """The tables of benchmarks.frameworks for one framework."""
    kit, file = stage.kit, stage.kit.work / f"losses_{framework}.json"
    sizes = ["--sizes=64x10", "--losses=softmax", "--repetitions=1"] if kit.small else []
    stage.run(
        *("python", "-m", "benchmarks.frameworks", f"--frameworks={framework}"),
        *(f"--device={kit.device}", f"--sizes={_SIZES}", "--dtypes=float32,bfloat16"),
        *("--repetitions=3", "--seconds=0.05", f"--json={file}", *sizes),
        f"--budget={0.9 * seconds:.0f}",
        seconds=seconds,
    )
    return json.loads(file.read_text())
