"""A model with two outputs, each with counts and a loss of its own.

The digit (ten uneven classes), and whether it has a closed loop (yes or no). Keras' `class_weight`
refuses such a model.

    python examples/several_outputs.py
"""

import keras
import numpy as np
from sklearn.datasets import load_digits

import cb_keras

digits = load_digits()
images = (digits.images[..., None] / 16).astype("float32")
is_test = np.arange(len(images)) >= 1200  # the last writers
train = np.flatnonzero(~is_test)
counts = cb_keras.long_tailed_counts(num_classes=10, max_count=110, imbalance_factor=0.03)
chosen = train[cb_keras.choose_long_tail(digits.target[train], counts, seed=0)]


def targets(which):
    """Labels of both outputs."""
    digit = digits.target[which]
    return {"digit": digit, "loop": np.isin(digit, [0, 6, 8, 9]).astype("int32")}


labels = targets(chosen)
keras.utils.set_random_seed(0)
inputs = keras.Input((8, 8, 1))
x = keras.layers.Conv2D(32, 3, padding="same", activation="relu")(inputs)
x = keras.layers.Conv2D(64, 3, strides=2, activation="relu")(x)
x = keras.layers.Flatten()(x)
outputs = {
    "digit": keras.layers.Dense(10, name="digit")(x),
    "loop": keras.layers.Dense(1, name="loop")(x),
}
model = keras.Model(inputs, outputs)
model.compile(
    "adam",
    loss={
        "digit": cb_keras.losses.ClassBalancedSoftmaxCrossentropy(
            cb_keras.class_counts(labels["digit"]), power=0.5
        ),
        "loop": cb_keras.losses.ClassBalancedBinaryCrossentropy(
            cb_keras.binary_counts(labels["loop"]), power=0.5
        ),
    },
    loss_weights={"digit": 1.0, "loop": 0.5},
    metrics={
        "digit": cb_keras.metrics.BalancedAccuracy(10),
        "loop": cb_keras.metrics.BalancedAccuracy(2, threshold=0.0),
    },
)
model.fit(images[chosen], labels, epochs=30, verbose=0)
figures = model.evaluate(images[is_test], targets(is_test), return_dict=True, verbose=0)
for name, figure in figures.items():
    print(f"{name}: {figure:.3f}")
