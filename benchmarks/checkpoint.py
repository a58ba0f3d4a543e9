"""What does a checkpoint cost, next to the training between two of them?

python -m benchmarks.checkpoint [--preset=digits] [--json=FILE]

ResNet, precision, batch and steps are the preset's: cpu has 110 steps of 128 images an epoch,
digits 11 of 32, and both a checkpoint every five epochs. The limit of the checkpoint is a synced
write of as many bytes.
"""

import os
import pathlib
import tempfile

import keras
import numpy as np
from absl import app, flags

import cb_keras
from benchmarks import timing
from experiments.training import checkpoint

_PRESET = flags.DEFINE_enum("preset", "cpu", ["cpu", "digits"], "Preset of experiments.train.")
_REPETITIONS = flags.DEFINE_integer("repetitions", 5, "Rounds.")
_JSON = flags.DEFINE_string("json", None, "File for the figures.")
# ResNet, then images of a batch, and steps between two checkpoints.
_RUNS = {
    "cpu": ({"depth": 32, "dtype": "mixed_bfloat16"}, (128, 32, 32, 3), 110 * 5),
    "digits": ({"depth": 20, "input_shape": (8, 8, 1)}, (32, 8, 8, 1), 11 * 5),
}


def main(argv):
    del argv
    resnet, images_shape, steps = _RUNS[_PRESET.value]
    model = cb_keras.resnet_cifar(**resnet)
    model.compile(
        cb_keras.optimizers.MomentumSGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, images_shape).astype("float32")
    labels = generator.integers(0, 10, images_shape[0])
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
                    steps
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
        f"Checkpoints of the preset {_PRESET.value}",
        milliseconds,
        "training between two checkpoints",
        "ms",
        _JSON.value,
    )


if __name__ == "__main__":
    app.run(main)
