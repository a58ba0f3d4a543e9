"""How much faster does ResNet-32 train with the fused batch normalisation than with Keras' layer?

python -m benchmarks.batch_norm [--json=FILE]
"""

from unittest import mock

import keras
import numpy as np
from absl import app, flags

import cb_keras
from benchmarks import timing

_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Images per step.")
_REPETITIONS = flags.DEFINE_integer("repetitions", 5, "Rounds.")
_JSON = flags.DEFINE_string("json", None, "File for the figures.")


def training_step(layer, precision, batch_size):
    """A compiled training step on a constant batch, with `layer` as batch normalisation."""
    with mock.patch.object(cb_keras.resnet, "BatchNormalization", layer):
        model = cb_keras.resnet_cifar(dtype=precision)
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (batch_size, 32, 32, 3)).astype("float32")
    labels = generator.integers(0, 10, batch_size)
    return lambda: model.train_on_batch(images, labels)


def main(argv):
    del argv
    size = _BATCH_SIZE.value
    rates = {}
    for precision in ("float32", "mixed_bfloat16"):
        measurements = {}
        for name, layer in (
            ("Keras", keras.layers.BatchNormalization),
            ("fused", cb_keras.resnet.BatchNormalization),
        ):
            step = training_step(layer, precision, size)
            measurements[f"{name}, {precision}"] = lambda s=step: size * timing.rate_of(s)
        rates |= timing.alternate(measurements, _REPETITIONS.value)
    timing.report(
        f"ResNet-32 training step, batch {size}", rates, "Keras, float32", "images/s", _JSON.value
    )


if __name__ == "__main__":
    app.run(main)
