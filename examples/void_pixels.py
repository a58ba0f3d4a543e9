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
    x = keras.layers.Conv2D(48, 4, strides=2, padding="same")(inputs)
    for dilation in (1, 2, 1):
        x = keras.layers.Activation("relu")(cb_keras.layers.BatchNormalization()(x))
        x = keras.layers.Conv2D(64, 3, padding="same", dilation_rate=dilation)(x)
    x = keras.layers.Activation("relu")(cb_keras.layers.BatchNormalization()(x))
    return keras.Model(inputs, keras.layers.Conv2DTranspose(CLASSES, 4, 2, padding="same")(x))


def recalls(model):
    """The share of each class's pixels that is found; void pixels count in none."""
    found = model.predict(test_images, verbose=0).argmax(-1)
    known = test_pixels != VOID
    confusion = cb_keras.metrics.confusion_matrix(test_pixels[known], found[known], CLASSES)
    return cb_keras.metrics.per_class_accuracy(confusion)


for name, power in (("plain", 0.0), ("class-balanced, square root", 0.5)):
    model = network()
    loss = cb_keras.losses.ClassBalancedSoftmaxCrossentropy(
        class_counts, power=power, ignore_class=VOID
    )
    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(images, pixels.astype("int32"), batch_size=32, epochs=16, verbose=0)
    recall = recalls(model)
    rare = np.mean(recall[6:])
    print(f"{name}: mean recall {np.mean(recall):.3f}, of the rare half of the digits {rare:.3f}")
