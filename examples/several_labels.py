"""Several labels at once: which digits are in the picture.

Ten yes-or-no questions with an imbalance of their own each, from "0 is there" (most mosaics) to
"9 is there" (some in a hundred).

    python examples/several_labels.py
"""

import keras
from mosaics import mosaics
from sklearn.metrics import average_precision_score, f1_score

import cb_keras

images, labels, _ = mosaics(2400, 0, 1200, seed=0)
test_images, test_labels, _ = mosaics(800, 1200, 1797, seed=1)

counts = cb_keras.binary_counts(labels)  # [10, 2]: without and with each digit
print("mosaics with each digit:", *counts[:, 1])


def network():
    """A small convolutional network with ten logits."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input(images.shape[1:])]
    for filters, strides in ((32, 1), (64, 2), (64, 2), (128, 1)):
        layers += [
            keras.layers.Conv2D(filters, 3, strides=strides, padding="same"),
            cb_keras.layers.BatchNormalization(),
            keras.layers.Activation("relu"),
        ]
    layers += [keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(10)]
    return keras.Sequential(layers)


LOSSES = {
    "plain": cb_keras.losses.ClassBalancedBinaryCrossentropy(counts, power=0.0),
    "class-balanced": cb_keras.losses.ClassBalancedBinaryCrossentropy(counts, power=1.0),
    "asymmetric": cb_keras.losses.AsymmetricCrossentropy(),
}
for name, loss in LOSSES.items():
    model = network()
    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(images, labels, batch_size=64, epochs=8, verbose=0)
    logits = model.predict(test_images, verbose=0)
    f1 = f1_score(test_labels, logits > 0, average="macro", zero_division=0)
    precision = average_precision_score(test_labels, logits, average="macro")
    print(f"{name}: macro-F1 {f1:.3f} at the threshold 0, mean average precision {precision:.3f}")
