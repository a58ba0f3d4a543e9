"""A long-tailed problem in two dimensions from real digits, and a small network trained on it."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

import cb_keras
from cb_keras.metrics import confusion_matrix, per_class_accuracy
from experiments.methods import class_balanced, powers

DIGITS = (8, 3, 2)  # head to tail: neighbours in the projection
POWERS = {0: "none", **{power: powers.POWERS[power].words for power in (0.5, 1, 2)}}
NUM_SEEDS = 5  # splits and networks that the means are taken over; the first is drawn
STEPS = 500
_MAX_COUNT = 150  # of the 174 to 183 images of a digit: some must be left to test on


@dataclasses.dataclass(frozen=True)
class Problem:
    """Points float32 `[N, 2]` and class ids `[N]`; class 0 is the head, the last one the tail."""

    train_points: np.ndarray
    train_labels: np.ndarray
    test_points: np.ndarray
    test_labels: np.ndarray

    @property
    def class_counts(self):
        """Training images per class `[C]`."""
        return np.bincount(self.train_labels, minlength=len(DIGITS))


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network, the class weights it was trained with, and its recalls `[C]` on the test set."""

    model: keras.Model
    class_weights: np.ndarray
    recalls: np.ndarray

    @property
    def figures(self):
        """Recall of the tail, recall of the head, balanced accuracy."""
        return np.array([self.recalls[-1], self.recalls[0], self.recalls.mean()])


def class_counts(imbalance_factor):
    """Training images per digit; raises ValueError where the factor is out of range."""
    return cb_keras.long_tailed_counts(len(DIGITS), _MAX_COUNT, imbalance_factor)


def load_problem(imbalance_factor, seed):
    """The digits in two dimensions, with a long tail that `seed` chooses.

    The projection (PCA, scaled to unit variance) is fitted on the training images alone.
    """
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA

    data = load_digits()
    kept = np.isin(data.target, DIGITS)
    images = data.data[kept]
    labels = np.array([DIGITS.index(digit) for digit in data.target[kept]])
    chosen = cb_keras.choose_long_tail(labels, class_counts(imbalance_factor), seed)
    others = np.setdiff1d(np.arange(labels.size), chosen)
    projection = PCA(n_components=2, whiten=True, svd_solver="full").fit(images[chosen])
    points = projection.transform(images).astype("float32")
    return Problem(points[chosen], labels[chosen], points[others], labels[others])


def train(problem, settings, power, seed, steps=STEPS):
    """Trains the network on all training points at once, so that their order does not matter.

    Args:
        problem: `Problem`.
        settings: Mapping with `loss` and the parameters of the method but the power.
        power: Power of the class-balanced term.
        seed: Seed of the initial weights.
        steps: Steps of gradient descent.

    Returns:
        `Trained`.
    """
    keras.utils.set_random_seed(seed)
    hidden = keras.layers.Dense(8, activation="tanh")
    model = keras.Sequential([keras.Input((2,)), hidden, keras.layers.Dense(len(DIGITS))])
    settings = {**settings, class_balanced.CB_POWER.name: power}
    loss = class_balanced.CLASS_BALANCED.make_loss(settings, class_counts=problem.class_counts)
    optimizer = keras.optimizers.SGD(learning_rate=0.1, momentum=0.9)
    model.compile(optimizer, loss, steps_per_execution=25, jit_compile=False)
    points = tf.data.Dataset.from_tensors((problem.train_points, problem.train_labels))
    model.fit(points.repeat(steps), shuffle=False, verbose=0)
    predictions = logits(model, problem.test_points).argmax(axis=-1)
    confusion = confusion_matrix(problem.test_labels, predictions, len(DIGITS))
    return Trained(model, loss.class_weights.numpy(), np.array(per_class_accuracy(confusion)))


def train_all(settings, num_seeds=NUM_SEEDS, steps=STEPS):
    """Trains with every power on `num_seeds` splits, the first of them by `settings["seed"]`.

    Returns:
        The first `Problem`, and a dict of power to its `num_seeds` `Trained`.
    """
    seeds = range(settings["seed"], settings["seed"] + num_seeds)
    problems = [load_problem(settings["imbalance_factor"], seed) for seed in seeds]
    runs = {
        power: [
            train(problem, settings, power, seed, steps)
            for problem, seed in zip(problems, seeds, strict=True)
        ]
        for power in POWERS
    }
    return problems[0], runs


def logits(model, points):
    """Logits of points `[..., 2]` as a numpy array."""
    return keras.ops.convert_to_numpy(model(points))
