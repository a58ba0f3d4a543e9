"""Exports that TensorFlow writes, of models that Keras trained on another backend.

Keras has one backend a process, so TensorFlow has a process of its own, which reads the network
from a `.keras` file and sees no GPU: the training's framework may hold all of its memory.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from experiments.cli import UserError, in_a_line

_ROOT = pathlib.Path(__file__).parents[2]


def export(name, model, path, description):
    """Writes `model` as `EXPORTS[name]` does where Keras runs on TensorFlow.

    Raises:
        UserError: TensorFlow could not; says why.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "model.keras")
        model.save(file)
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=json.dumps([name, str(file), str(path), description]),
            env=_environment(),
            capture_output=True,
            text=True,
        )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise UserError(
            f"--exports={name}: TensorFlow, in a process of its own, could not write {path} "
            f"({in_a_line(lines[-1])[:300]}). The trained model.keras is saved: put that right and "
            "go on with --resume, or leave --exports out."
        )


def _environment():
    """The environment of this process, less what is said to another framework."""
    found = dict(os.environ)
    found.pop("XLA_FLAGS", None)  # a flag that it does not know ends a process
    path = os.pathsep.join([str(_ROOT), *filter(None, [found.get("PYTHONPATH")])])
    return {
        **found,
        "CUDA_VISIBLE_DEVICES": "",
        "KERAS_BACKEND": "tensorflow",
        "PYTHONPATH": path,
        "TF_CPP_MIN_LOG_LEVEL": found.get("TF_CPP_MIN_LOG_LEVEL", "2"),
    }


def _main():
    from experiments.exports import EXPORTS, keras_file

    name, file, path, description = json.load(sys.stdin)
    EXPORTS[name](keras_file.load(file), path, description)


if __name__ == "__main__":
    _main()
