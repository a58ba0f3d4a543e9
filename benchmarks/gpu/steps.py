"""Stage: is the op right and quick inside the training steps of JAX and PyTorch?"""

import json


def run(stage):
    """`benchmarks.gpu.training_steps` on each framework."""
    for name in ("jax", "torch"):
        stage.step(name, lambda name=name: _steps(stage, name))


def _steps(stage, framework):
    kit, file = stage.kit, stage.kit.work / f"steps_{framework}.json"
    small = ["--small"] if kit.small else []
    command = ["python", "-m", "benchmarks.gpu.training_steps", f"--json={file}", *small]
    stage.run(*command, KERAS_BACKEND=framework)
    return json.loads(file.read_text())
