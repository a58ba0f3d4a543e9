"""Run with KERAS_BACKEND=jax: trains as the program does, and by Keras' own `fit`; prints both.

python -m tests.experiments.training.jax_steps NAME.npz
"""

import sys

import jax
import keras
import numpy as np

from experiments.datasets import Split, digits, draws, jax_batches
from experiments.training import freezing, jax_training, protocol
from experiments.training.progress import ThroughputProgress
from tests.experiments.training.cases import tiny_network

SETTINGS = {
    **{"seed": 3, "train_epochs": 2, "eval_epochs": 1, "batch_size": 64, "eval_batch_size": 100},
    "sampler": "progressive",
    **{"learning_rate": 0.1, "warmup_epochs": 0.5, "lr_boundaries": [0.5], "momentum": 0.9},
}


def network(precision="float32"):
    """A compiled tiny network, the same at every call."""
    from cb_keras import losses, metrics

    keras.utils.set_random_seed(0)
    model = tiny_network(8, (8, 8, 1), 10, "softmax", 0.01, precision)
    settings = {**SETTINGS, "precision": precision}
    schedule = protocol.make_schedule(settings, {"steps_per_epoch": 6, "lr_decay": 0.5})
    model.compile(
        optimizer=protocol.make_optimizer(settings, schedule),
        loss=losses.ClassBalancedSoftmaxCrossentropy(class_weights=np.arange(1, 11) / 5.5),
        metrics=[
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
            metrics.BalancedAccuracy(10),
        ],
    )
    model.optimizer.build(model.trainable_variables)
    return model


class Epochs(keras.callbacks.Callback):
    """Keeps what the callbacks of a training are told."""

    def __init__(self):
        super().__init__()
        self.logs, self.steps = [], []

    def on_train_batch_end(self, batch, logs=None):
        """Keeps the step."""
        self.steps.append(batch)

    def on_epoch_end(self, epoch, logs=None):
        """Keeps the figures."""
        self.logs.append(logs)


def ours(train, test, precision="float32", callbacks=()):
    """A model trained by the program, and the `Epochs` of it."""
    model, epochs = network(precision), Epochs()
    jax_training.fit(model, train, test, SETTINGS, "crop", 0, [*callbacks, epochs])
    return model, epochs


def by_keras(train, test):
    """The same trained by `fit` on the same batches."""
    model, epochs = network(), Epochs()

    def batches():
        feed = jax_batches.Feed(train, 64)
        for epoch in range(2):
            order = draws.order("progressive", train.labels, 3, epoch, 2)
            for call in feed.calls(feed.plan(order, "crop", 3, epoch)):
                images, labels, chosen, drawn = call.inputs
                drawn = jax.tree.map(lambda d: d[0], drawn)
                x, y = feed.batch(images, labels, chosen[0], drawn)
                yield np.asarray(x), np.asarray(y)

    model.fit(
        batches(),
        steps_per_epoch=6,
        epochs=2,
        validation_data=(test.images, test.labels),
        validation_batch_size=100,
        callbacks=[epochs],
        verbose=0,
        shuffle=False,
    )
    return model, epochs


def main(path):
    """Writes what the test compares."""
    data = digits.load()
    train = Split(data.train.images[:350], data.train.labels[:350])
    test = Split(data.test.images[:250], data.test.labels[:250])
    found = {}

    def keep(name, model, epochs):
        weights = [*model.trainable_variables, *model.non_trainable_variables]
        for i, variable in enumerate([*weights, *model.optimizer.variables]):
            found[f"{name}_variable_{i}"] = np.asarray(variable.value)
        found[f"{name}_steps"] = np.array(epochs.steps)
        for key in epochs.logs[0]:
            found[f"{name}_figure_{key}"] = np.array([logs[key] for logs in epochs.logs])

    keep("keras", *by_keras(train, test))
    keep("steps", *ours(train, test))
    keep("float16", *ours(train, test, "mixed_float16"))
    jax_batches.rolled = lambda: True  # as on a GPU
    keep("loop", *ours(train, test))

    frozen = network()
    before = [np.asarray(v.value) for v in frozen.layers[1].variables]
    progress = ThroughputProgress(350, 64, 2)
    trunk = freezing.FrozenTrunk(1, progress)
    model, epochs = ours(train, test, callbacks=[trunk, _Watch(found), progress])
    keep("frozen", model, epochs)
    found["frozen_before"] = before[0]
    np.savez(path, **found)


class _Watch(keras.callbacks.Callback):
    """Keeps the first convolution and its velocity after each epoch."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def on_epoch_end(self, epoch, logs=None):
        kernel = self.model.get_layer("convolution").kernel
        self.found[f"frozen_kernel_{epoch}"] = np.asarray(kernel.value)
        velocity = self.model.optimizer.momentums[0]
        assert velocity.shape == kernel.shape
        self.found[f"frozen_velocity_{epoch}"] = np.asarray(velocity.value)
        norm = self.model.get_layer("norm").moving_mean
        self.found[f"frozen_mean_{epoch}"] = np.asarray(norm.value)


if __name__ == "__main__":
    main(sys.argv[1])
