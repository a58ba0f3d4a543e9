"""What does a checkpoint cost, beside the training between two of them?

python -m benchmarks.checkpoint [--precision=float32] [--json=FILE]

ResNet-32 as in the preset cpu: 110 steps of 128 images an epoch, a checkpoint every five epochs.
The limit of the checkpoint is a synced write of as many bytes.
"""

import os
import pathlib
import tempfile

import keras
import numpy as np
from absl import app, flags

import cb_keras
from benchmarks import timing
from experiments import checkpoint

_PRECISION = flags.DEFINE_string("precision", "mixed_bfloat16", "Policy of the layers.")
_REPETITIONS = flags.DEFINE_integer("repetitions", 5, "Rounds.")
_JSON = flags.DEFINE_string("json", None, "File for the figures.")
_STEPS = 110 * 5


def main(argv):
    del argv
    model = cb_keras.resnet_cifar(dtype=_PRECISION.value)
    model.compile(
        cb_keras.optimizers.MomentumSGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (128, 32, 32, 3)).astype("float32")
    labels = generator.integers(0, 10, 128)
    history = [{"epoch": i, "loss": 1.0 / 3, "accuracy": 2.0 / 3} for i in range(30)]

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)

        def save():
            checkpoint.save(folder, model, 5, {"history": history})

        def write():
            with open(folder / "bytes", "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

        model.train_on_batch(images, labels)
        save()
        content = os.urandom((folder / checkpoint.NEWEST).stat().st_size)
        milliseconds = timing.alternate(
            {
                "training between two checkpoints": lambda: (
                    _STEPS
                    * timing.milliseconds_of(lambda: model.train_on_batch(images, labels), 3.0)
                ),
                "checkpoint": lambda: timing.milliseconds_of(save, 2.0),
                f"synced write of {len(content) / 1e6:.1f} MB": lambda: timing.milliseconds_of(
                    write, 1.0
                ),
            },
            _REPETITIONS.value,
        )
    timing.report(
        f"Checkpoints of ResNet-32, {_PRECISION.value}",
        milliseconds,
        "training between two checkpoints",
        "ms",
        _JSON.value,
    )


if __name__ == "__main__":
    app.run(main)
