"""Run with KERAS_BACKEND=jax: trains with parts of the strong recipe; writes what it did.

python -m tests.experiments.training.jax_recipe_steps NAME.npz
"""

import sys

import jax
import keras
import numpy as np

from cb_keras import losses, metrics
from experiments.datasets import (
    Split,
    digits,
    draws,
    image_operations,
    jax_batches,
    jax_randaugment,
    recipe_draws,
)
from experiments.datasets.recipe import Recipe
from experiments.training import averaging, jax_training, steps
from tests.experiments.training.cases import tiny_network

DATA = {"cutout": 3, "mixup_alpha": 1.0, "cutmix_alpha": 1.0, "randaugment": 0.5}
RATE, RHO, MOMENTUM = 0.2, 0.5, 0.3


def data(number):
    """`(Split to train on, Split to evaluate)` of so many digits each."""
    loaded = digits.load()
    return [Split(s.images[:number], s.labels[:number]) for s in (loaded.train, loaded.test)]


def network(mixes=False):
    """A compiled tiny network, the same at every call."""
    keras.utils.set_random_seed(0)
    model = tiny_network(8, (8, 8, 1), 10, "softmax", 0.01, "float32")
    kind = "Categorical" if mixes else "SparseCategorical"
    model.compile(
        keras.optimizers.SGD(RATE),
        losses.ClassBalancedSoftmaxCrossentropy(class_weights=np.arange(1, 11) / 5.5),
        [getattr(keras.metrics, f"{kind}Accuracy")(name="accuracy"), metrics.BalancedAccuracy(10)],
    )
    model.optimizer.build(model.trainable_variables)
    return model


def trained(model, epochs, batch_size, callbacks=(), number=64, **recipe):
    """Trains the network; returns its `Averages`, or None."""
    settings = {"seed": 3, "train_epochs": epochs, "eval_epochs": 1, "batch_size": batch_size}
    settings |= {"eval_batch_size": 40, "sampler": "uniform", "ema": 0.0, "sam_rho": 0.0, **recipe}
    averages = steps.install(model, settings)
    callbacks = [*([averaging.EvaluateAverages(averages)] if averages else []), *callbacks]
    jax_training.fit(model, *data(number), settings, "none", 0, callbacks, averages)
    return averages


def values(variables):
    return [np.asarray(v.value) for v in variables]


class Epochs(keras.callbacks.Callback):
    """Keeps the figures and the variables after each epoch, before an evaluation and after it."""

    def __init__(self):
        super().__init__()
        self.logs, self.variables = [], []

    def on_epoch_end(self, epoch, logs=None):
        """Keeps them."""
        self.logs.append(logs)
        self.variables.append(values(self.model.variables))


def loss_of(model, variables, split, training):
    """`(loss with its penalty, statistics)` of all images of a split, of trained variables."""
    predictions, statistics, penalties = model.stateless_call(
        variables,
        values(model.non_trainable_variables),
        split.images,
        training=training,
        return_losses=True,
    )
    return model.loss(split.labels, predictions) + sum(penalties), statistics


def sharp_step(keep):
    """One step of the program, and by hand: two gradients, the norm in float64."""
    train, _ = data(64)
    by_hand = network()
    weights = values(by_hand.trainable_variables)

    def slopes(at):
        found = jax.grad(lambda w: loss_of(by_hand, w, train, training=True)[0])(at)
        return [np.asarray(g, "float64") for g in found]

    first = slopes(weights)
    norm = np.sqrt(sum((g**2).sum() for g in first))
    moved = [(w + RHO * g / norm).astype("float32") for w, g in zip(weights, first, strict=True)]
    keep("sharp_right", [w - RATE * g for w, g in zip(weights, slopes(moved), strict=True)])
    keep("plain_right", [w - RATE * g for w, g in zip(weights, first, strict=True)])
    loss, statistics = loss_of(by_hand, weights, train, training=True)
    keep("sharp_right_statistics", statistics)
    keep("sharp_right_loss", [loss])

    model, epochs = network(), Epochs()
    trained(model, 1, 64, [epochs], sam_rho=RHO)
    keep("sharp", values(model.trainable_variables))
    keep("sharp_statistics", values(model.non_trainable_variables))
    keep("sharp_loss", [epochs.logs[0]["loss"]])


def averaged_steps(keep):
    """Epochs of one step each, so that the network is seen after every one of them."""
    model, epochs = network(), Epochs()
    right = [np.asarray(v, "float64") for v in values(model.variables)]
    averages = trained(model, 4, 64, [epochs], ema=MOMENTUM)
    for t, of_step in enumerate(epochs.variables, 1):
        d = min(MOMENTUM, (1 + t) / (10 + t))
        right = [d * a + (1 - d) * v for a, v in zip(right, of_step, strict=True)]
    keep("averages", values(averages.variables))
    keep("averages_right", right)
    keep("own", values(model.variables))
    keep("averages_loss", [epochs.logs[-1]["val_loss"]])
    averages.use()
    _, test = data(64)
    keep("averages_right_loss", [loss_of(model, values(model.trainable_variables), test, False)[0]])


def mixed_step(keep):
    """The loss of one step on mixed images, and the mix of the losses of their labels by hand."""
    model, epochs = network(mixes=True), Epochs()
    trained(model, 1, 64, [epochs], mixup_alpha=1.0)
    keep("mixed_loss", [epochs.logs[0]["loss"]])

    train, _ = data(64)
    recipe = Recipe(10, mixup_alpha=1.0)
    drawn = recipe_draws.of_epoch(recipe, train.images.shape[1:], 3, 0, 64, 64)["mix"]
    other, share = drawn[0][0], float(drawn[2][0])
    order = draws.uniform(64, 3, 0)
    images, labels = train.images[order].astype("float64"), train.labels[order]
    mixed = (share * images + (1 - share) * images[other]).astype("float32")
    by_hand = network()
    weights = values(by_hand.trainable_variables)
    both = [
        loss_of(by_hand, weights, Split(mixed, y), training=True)[0]
        for y in (labels, labels[other])
    ]
    keep("mixed_right_loss", [share * both[0] + (1 - share) * both[1]])


def whole_recipe(keep, name):
    """Two epochs with all of it, the last batch smaller than the others."""
    model, epochs = network(mixes=True), Epochs()
    averages = trained(model, 2, 40, [epochs], number=150, ema=MOMENTUM, sam_rho=0.1, **DATA)
    keep(name, [*epochs.variables[-1], *values(averages.variables)])
    keep(f"{name}_figures", [list(logs.values()) for logs in epochs.logs])


def randaugmented(keep):
    """Operations on digits, matrices, and whole epochs of them made in several ways."""
    images = data(64)[0].images // 2
    operations = jax_randaugment.RandAugment(0.5, 1, operations=1)
    pixels, keys = images.astype("float32"), jax.random.split(jax.random.PRNGKey(1), 64)
    keep("images", [images])
    for kind in ("equalize", "autocontrast"):
        keep(kind, [operations._changed(kind, pixels[0], 0, keys[0])])
    first = operations._names.index(image_operations.MOVED[0])
    for i, name in enumerate(image_operations.MOVED):
        matrices = [operations._matrix(images.shape[1:], first + i, k) for k in keys]
        keep(f"matrix_{name}", matrices)
        moved = [jax_randaugment._moved(p, m) for p, m in zip(pixels, matrices, strict=True)]
        keep(f"moved_{name}", moved)

    same = np.zeros(2000, "int32")
    keep("of_one_image", [operations(images, same, 3, 0), operations(images, same, 3, 1)])
    keep("from_a_place", [operations(images, same[:500], 3, 0, first=1500)])
    backend, jax.default_backend = jax.default_backend, lambda: "gpu"
    keep("of_all_operations", [jax_randaugment.RandAugment(0.5, 1, 1)(images, same, 3, 0)])
    jax.default_backend = backend

    def batches():
        feed = jax_batches.Feed(Split(images, np.arange(64)), 24, Recipe(0, randaugment=0.5))
        order = np.arange(64, dtype="int32")[::-1]
        for call in feed.calls(feed.plan(order, "none", 3, 1)):
            pixels, labels, chosen, _ = call.inputs
            yield np.asarray(pixels)[chosen[0]]
            yield np.asarray(labels)[chosen[0]]

    keep("resident", batches())
    jax_batches._stays = lambda images, copies: False
    keep("read", batches())


def main(path):
    """Writes what the test compares: arrays by name and number."""
    found = {}

    def keep(name, arrays):
        found.update((f"{name}_{i}", np.asarray(a)) for i, a in enumerate(arrays))

    sharp_step(keep)
    averaged_steps(keep)
    mixed_step(keep)
    whole_recipe(keep, "steps")
    rolled, jax_batches.rolled = jax_batches.rolled, lambda: True  # as on a GPU
    whole_recipe(keep, "loop")
    jax_batches.rolled = rolled
    randaugmented(keep)
    np.savez(path, **found)


if __name__ == "__main__":
    main(sys.argv[1])
