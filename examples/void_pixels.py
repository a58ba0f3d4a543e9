"""Segmentation: one class per pixel, uneven classes, and borders that are nobody's.

Mosaics of handwritten digits; each pixel is ground, one of ten digits, or void (255).

    python examples/void_pixels.py
"""

import keras
import numpy as np
from mosaics import VOID, mosaics

import cb_keras

CLASSES = 11  # the ground, and ten digits

images, _, pixels = mosaics(1200, 0, 1200, seed=0)
test_images, _, test_pixels = mosaics(300, 1200, 1797, seed=1)

class_counts = cb_keras.class_counts(pixels, num_classes=CLASSES, ignore_class=VOID)
print("pixels of each class:", *class_counts)


def network():
    """A small fully convolutional network with 11 logits per pixel."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(images.shape[1:])
    x = inputs
    for filters, dilation in ((32, 1), (32, 2), (64, 2), (64, 1)):
        x = keras.layers.Conv2D(filters, 3, padding="same", dilation_rate=dilation)(x)
        x = keras.layers.Activation("relu")(cb_keras.layers.BatchNormalization()(x))
    return keras.Model(inputs, keras.layers.Conv2D(CLASSES, 1)(x))


def mean_recall(model):
    """Mean over the classes of the share of their pixels that is found; void counts in none."""
    found = model.predict(test_images, verbose=0).argmax(-1)
    known = test_pixels != VOID
    confusion = cb_keras.metrics.confusion_matrix(test_pixels[known], found[known], CLASSES)
    return confusion.diagonal() / confusion.sum(axis=1)


for name, power in (("plain", 0.0), ("class-balanced, square root", 0.5)):
    model = network()
    loss = cb_keras.losses.ClassBalancedSoftmaxCrossentropy(
        class_counts, power=power, ignore_class=VOID
    )
    metric = cb_keras.metrics.BalancedAccuracy(CLASSES, ignore_class=VOID)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=[metric])
    model.fit(images, pixels.astype("int32"), batch_size=32, epochs=6, verbose=0)
    recall = mean_recall(model)
    print(f"{name}: mean recall {np.mean(recall):.3f}, of the rarest digit {recall[-1]:.3f}")
