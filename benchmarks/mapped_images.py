"""Does the training step keep its speed when the images stay in a file?

python -m benchmarks.mapped_images --data_dir=DIR

The protocol's step on CIFAR-10 (ResNet-32, focal loss) with one constant batch, with batches of the
pipeline from images in memory, and from the same images in a file that is mapped into memory, as
`--dataset=folder:PATH` has them. The goal is 0.95 of the constant batch.
"""

import pathlib
import tempfile

import numpy as np
import tensorflow as tf
from absl import app, flags

import cb_keras
from benchmarks import timing
from experiments import datasets
from experiments.datasets import Split, pipeline
from experiments.datasets.rows import Rows

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder with prepared tensorflow-datasets.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Images per step.")
_DEPTH = flags.DEFINE_integer("depth", 32, "Depth of the ResNet.")
_SECONDS = flags.DEFINE_float("seconds", 15, "Seconds of each measurement.")
_REPETITIONS = flags.DEFINE_integer("repetitions", 3, "Rounds.")
_JSON = flags.DEFINE_string("json", None, "File for the figures.")


def main(argv):
    del argv
    train = datasets.load("cifar10", _DATA_DIR.value).train
    with tempfile.TemporaryDirectory() as folder:
        step = compiled_step(np.bincount(train.labels))
        constant = [tf.constant(x[: _BATCH_SIZE.value]) for x in (train.images, train.labels)]
        in_file = mapped(train, pathlib.Path(folder, "images.npy"))
        fed = {
            "constant batch": lambda: constant,
            "images in memory": batches(train),
            "images in a file": batches(in_file),
            "pipeline alone, in a file": batches(in_file),
        }
        rates = timing.alternate(
            {name: measured(name, step, following) for name, following in fed.items()},
            _REPETITIONS.value,
        )
    timing.report(
        f"CIFAR-10, ResNet-{_DEPTH.value}, focal, batch {_BATCH_SIZE.value}",
        rates,
        "constant batch",
        "images/s",
        _JSON.value,
    )


def mapped(split, path):
    """The same split, its images in a file."""
    np.save(path, split.images)
    digests = np.zeros((len(split.labels), 16), "uint8")
    rows = Rows(np.load(path, mmap_mode="r"), digests, np.arange(len(split.labels)))
    return Split(rows, split.labels)


def batches(split):
    """Function that gives the next batch of the training pipeline."""
    steps = pipeline.training_dataset(split, _BATCH_SIZE.value, 0, 0, 10**6, "crop_flip")
    iterator = iter(steps)
    return lambda: next(iterator)


def measured(name, step, following):
    """Function that returns images per second of the step on the batches that follow each other."""
    run = following if name.startswith("pipeline") else lambda: step(*following()).numpy()
    return lambda: _BATCH_SIZE.value * timing.rate_of(run, _SECONDS.value)


def compiled_step(counts):
    """The protocol's training step as one compiled function of a batch."""
    model = cb_keras.resnet_cifar(_DEPTH.value, head="sigmoid")
    loss = cb_keras.losses.ClassBalancedFocalCrossentropy(counts)
    optimizer = cb_keras.optimizers.MomentumSGD(0.001, momentum=0.9)
    optimizer.build(model.trainable_variables)
    batch = [tf.TensorSpec([None, 32, 32, 3], tf.uint8), tf.TensorSpec([None], tf.int32)]

    @tf.function(input_signature=batch, jit_compile=bool(tf.config.list_physical_devices("GPU")))
    def step(images, labels):
        with tf.GradientTape() as tape:
            value = loss(labels, model(images, training=True)) + tf.add_n(model.losses)
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return value

    return step


if __name__ == "__main__":
    app.run(main)
