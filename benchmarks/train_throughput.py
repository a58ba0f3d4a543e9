"""How much of the bare compiled step's speed does experiments.train reach on CIFAR-10?

python -m benchmarks.train_throughput --data_dir=DIR [--samplers=class_balanced] [--json=FILE]

The limit is the training step alone, compiled, again and again on one constant batch: no input,
no metrics, no callbacks. Next to it a whole run of the program (its own images_per_second), one
with each of the samplers, and the input pipeline alone.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import tensorflow as tf
from absl import app, flags

import cb_keras
from benchmarks import timing
from experiments import datasets
from experiments.datasets import pipeline

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder with prepared tensorflow-datasets.")
_PRECISION = flags.DEFINE_string("precision", "mixed_bfloat16", "Policy of the layers.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Images per step.")
_EPOCHS = flags.DEFINE_integer("epochs", 2, "Epochs of each run of the program.")
_REPETITIONS = flags.DEFINE_integer("repetitions", 3, "Rounds.")
_SAMPLERS = flags.DEFINE_list("samplers", [], "Values of --sampler, for a run with each.")
_JSON = flags.DEFINE_string("json", None, "File for the figures.")


def main(argv):
    del argv
    data = datasets.load("cifar10", _DATA_DIR.value)
    train, counts = datasets.cut_long_tail(data.train, 10, "exponential", 0.02, seed=0)
    step = bare_step(train, counts)
    rates = timing.alternate(
        {
            "bare step": lambda: _BATCH_SIZE.value * timing.rate_of(step, seconds=15),
            "experiments.train": train_program,
            **{
                f"experiments.train --sampler={name}": lambda name=name: train_program(
                    "--cb_power=0", f"--sampler={name}"
                )
                for name in _SAMPLERS.value
            },
            "input pipeline alone": lambda: pipeline_rate(train),
        },
        _REPETITIONS.value,
    )
    timing.report(
        f"CIFAR-10 factor 0.02, ResNet-32, focal, batch {_BATCH_SIZE.value}, {_PRECISION.value}",
        rates,
        "bare step",
        "images/s",
        _JSON.value,
    )


def bare_step(train, counts):
    """The protocol's step on one constant batch, as one compiled function."""
    model = cb_keras.resnet_cifar(head="sigmoid", dtype=_PRECISION.value)
    loss = cb_keras.losses.ClassBalancedFocalCrossentropy(counts)
    optimizer = cb_keras.optimizers.MomentumSGD(0.001, momentum=0.9)
    optimizer.build(model.trainable_variables)
    images = tf.constant(train.images[: _BATCH_SIZE.value])
    labels = tf.constant(train.labels[: _BATCH_SIZE.value])

    @tf.function(jit_compile=bool(tf.config.list_physical_devices("GPU")))
    def step():
        with tf.GradientTape() as tape:
            value = loss(labels, model(images, training=True)) + tf.add_n(model.losses)
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return value

    return lambda: step().numpy()


def train_program(*arguments):
    """Images per second of a short run of experiments.train, as its metrics.json says."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "experiments.train", "--loss=focal", "--plots=false"),
            *(f"--train_epochs={_EPOCHS.value}", "--warmup_epochs=1"),
            *(f"--batch_size={_BATCH_SIZE.value}", f"--precision={_PRECISION.value}"),
            f"--output_dir={folder}/run",
            *arguments,
        ]
        if _DATA_DIR.value:
            command.append(f"--data_dir={_DATA_DIR.value}")
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        metrics = json.loads(pathlib.Path(folder, "run", "metrics.json").read_text())
    return metrics["images_per_second"]


def pipeline_rate(train):
    """Images per second that the input pipeline delivers when nothing trains."""
    batches = pipeline.training_dataset(train, _BATCH_SIZE.value, 0, 0, 10**6, "crop_flip")
    iterator = iter(batches)
    return (
        len(train.labels)
        / pipeline.steps_per_epoch(len(train.labels), _BATCH_SIZE.value)
        * timing.rate_of(lambda: next(iterator), seconds=3)
    )


if __name__ == "__main__":
    app.run(main)
