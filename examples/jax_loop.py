"""A training loop of JAX: a pure function of the parameters, compiled, with a loss of this package.

KERAS_BACKEND=jax python examples/jax_loop.py
"""

import os

os.environ["KERAS_BACKEND"] = "jax"  # before Keras is imported

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

import cb_keras

digits = load_digits()
images = (digits.data / 16).astype("float32")
tail = cb_keras.long_tailed_counts(num_classes=10, max_count=110, imbalance_factor=0.02)
chosen = cb_keras.choose_long_tail(digits.target[:1200], tail, seed=0)
class_counts = cb_keras.class_counts(digits.target[chosen], num_classes=10)


def logits_of(parameters, x):
    """Logits [N, 10] of a network with one hidden layer."""
    hidden = jax.nn.relu(x @ parameters["w1"] + parameters["b1"])
    return hidden @ parameters["w2"] + parameters["b2"]


@jax.jit
def step(parameters, weights, x, y):
    """One step of gradient descent."""

    def mean_loss(parameters):
        per_example = cb_keras.functional.class_balanced_softmax_crossentropy(
            y, logits_of(parameters, x), weights
        )
        return per_example.mean()

    gradient = jax.grad(mean_loss)(parameters)
    return jax.tree.map(lambda p, g: p - 0.2 * g, parameters, gradient)


for power in (0.0, 0.5):
    keys = jax.random.split(jax.random.key(0))
    parameters = {
        "w1": jax.random.normal(keys[0], (64, 64)) / 8,
        "b1": jnp.zeros(64),
        "w2": jax.random.normal(keys[1], (64, 10)) / 8,
        "b2": jnp.zeros(10),
    }
    weights = jnp.asarray(
        cb_keras.class_balanced_weights(class_counts, power=power, normalize="examples")
    )
    random = np.random.default_rng(0)
    for _ in range(60):
        order = random.permutation(chosen)
        for start in range(0, len(order), 32):
            batch = order[start : start + 32]
            parameters = step(parameters, weights, images[batch], digits.target[batch])
    found = np.asarray(logits_of(parameters, images[1200:]).argmax(-1))
    confusion = cb_keras.metrics.confusion_matrix(digits.target[1200:], found, 10)
    recall = cb_keras.metrics.per_class_accuracy(confusion)
    rare = recall[5:].mean()
    print(f"power {power}: mean recall {np.mean(recall):.3f}, of the rare half {rare:.3f}")
