"""What do metrics and callbacks cost with many classes, next to the bare compiled step?

python -m benchmarks.many_classes --data_dir=DIR [--classes=10,1000,8142] [--json=FILE]

CIFAR-10's training images, their labels dealt out among as many classes as are asked for. The limit
is the training step alone on one constant batch, as in benchmarks.train_throughput; next to it
`model.fit` as experiments.train calls it, with its input pipeline, metrics and callbacks. Both are
in images per second of the processor, all cores together, which other programs on the machine
disturb less than the clock's.
"""

import functools
import pathlib
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import timing
from experiments import datasets
from experiments.runs.directory import RunDirectory
from experiments.training import flags as train_flags
from experiments.training import protocol
from experiments.training.progress import ThroughputProgress
from experiments.training.settings import checked

_CLASSES = flags.DEFINE_list("classes", ["10", "1000", "8142"], "Numbers of classes.")
_STEPS = flags.DEFINE_integer("steps", 60, "Steps of an epoch of fit.")
_REPETITIONS = flags.DEFINE_integer("repetitions", 3, "Rounds.")
_JSON = flags.DEFINE_string("json", None, "Folder for the figures, one file a number of classes.")


def main(argv):
    del argv
    settings = checked({**train_flags.given_settings(), "train_epochs": 2, "warmup_epochs": 0})
    data = datasets.load(settings["dataset"], settings["data_dir"])
    for classes in map(int, _CLASSES.value):
        training = Training(data, classes, settings)
        rates = timing.alternate(
            {"bare step": training.bare_rate, "fit": training.fit_rate}, _REPETITIONS.value
        )
        file = _JSON.value and pathlib.Path(_JSON.value, f"{classes}_classes.json")
        title = f"{classes} classes, resnet{settings['depth']}, batch {settings['batch_size']}"
        timing.report(title, rates, "bare step", "images/s", file)


class Training:
    """A network for a number of classes, and images with that many labels.

    Args:
        data: `datasets.Data`.
        classes: C.
        settings: Checked settings of experiments.train.
    """

    def __init__(self, data, classes, settings):
        number = min(_STEPS.value * settings["batch_size"], len(data.train.labels))
        labels = (np.arange(number) % classes).astype("int32")
        self.settings = settings
        self.images = datasets.Split(data.train.images[:number], labels)
        self.test = datasets.Split(data.test.images[:100], labels[:100])
        counts = np.maximum(np.bincount(labels, minlength=classes), 1)
        named = {"name": data.name, "class_names": list(map(str, range(classes)))}
        own = datasets.Data(train=self.images, test=self.test, augmentation="none", **named)
        self.resolved = {**protocol.resolve(settings, own, counts), "steps_per_epoch": _STEPS.value}
        self.schedule = protocol.make_schedule(settings, self.resolved)
        self.model = protocol._compiled_model(settings, self.resolved, self.schedule, own, counts)

    def bare_rate(self):
        """Images per second of the step alone."""
        self._step()
        start = time.process_time()
        for _ in range(_STEPS.value):
            self._step()
        return _STEPS.value * self.settings["batch_size"] / (time.process_time() - start)

    @functools.cached_property
    def _step(self):
        model, size = self.model, self.settings["batch_size"]
        images = tf.constant(self.images.images[:size])
        labels = tf.constant(self.images.labels[:size])

        @tf.function(jit_compile=self.resolved["jit_compile"])
        def step():
            with tf.GradientTape() as tape:
                value = model.loss(labels, model(images, training=True)) + tf.add_n(model.losses)
            gradients = tape.gradient(value, model.trainable_variables)
            model.optimizer.apply(gradients, model.trainable_variables)
            return value

        return lambda: step().numpy()

    def fit_rate(self):
        """Images per second of the steps of an epoch of fit, its beginning and its end left out."""
        settings = {**self.settings, "eval_epochs": 3}
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            progress = ThroughputProgress(len(self.images.labels), settings["batch_size"], 2)
            run = RunDirectory(folder)
            callbacks = protocol._callbacks(run, progress, settings, self.schedule, {})
            fit = functools.partial(protocol._fit, self.model, settings, self.resolved)
            fit(self.images, self.test, 0, [*callbacks, clock])
        return (clock.steps - 1) * settings["batch_size"] / clock.seconds


class Clock(keras.callbacks.Callback):
    """Seconds of the processor between the first and the last step of the last epoch."""

    def on_train_batch_end(self, batch, logs=None):
        """Notes the time."""
        if batch == 0:
            self.start = time.process_time()
        self.steps, self.seconds = batch + 1, time.process_time() - self.start


if __name__ == "__main__":
    app.run(main)
