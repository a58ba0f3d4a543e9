"""A folder of class folders, and a network of `keras.applications`, trained from scratch.

Without a folder of your own: scikit-learn's digits, written as PNG files of uneven classes. For
real work give the network weights that were trained on many images (`weights="imagenet"` fetches
them).

    python examples/image_folder.py [FOLDER]
"""

import pathlib
import sys
import tempfile

import keras
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import cb_keras

SIDE = 32


def digits_as_files(folder):
    """Writes a long tail of the digits below `train`, and the last 50 of each below `test`."""
    digits = load_digits()
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    tail = cb_keras.long_tailed_counts(num_classes=10, max_count=120, imbalance_factor=0.1)
    for digit, name in enumerate(names):
        which = np.flatnonzero(digits.target == digit)
        for split, chosen in (("train", which[: tail[digit]]), ("test", which[-50:])):
            (folder / split / name).mkdir(parents=True)
            for i in chosen:
                image = Image.fromarray(np.uint8(digits.images[i] * (255 / 16)))
                image.resize((SIDE, SIDE)).save(folder / split / name / f"{i}.png")
    return folder


with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
    if len(sys.argv) < 2:
        digits_as_files(folder)
    # By folder, in the order of their names, which is Keras' order of the class ids too.
    class_counts = cb_keras.class_counts(folder / "train")
    print("training images of each class:", *class_counts)
    settings = {"image_size": (SIDE, SIDE), "batch_size": 16, "verbose": False}
    train, test = (
        keras.utils.image_dataset_from_directory(folder / split, seed=0, **settings)
        for split in ("train", "test")
    )

    keras.utils.set_random_seed(0)
    trunk = keras.applications.MobileNet(
        input_shape=(SIDE, SIDE, 3), alpha=0.25, include_top=False, weights=None, pooling="avg"
    )
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.applications.mobilenet.preprocess_input(inputs)
    model = keras.Model(inputs, keras.layers.Dense(len(class_counts))(trunk(x)))
    model.compile(
        keras.optimizers.Adam(3e-3),
        cb_keras.losses.ClassBalancedSoftmaxCrossentropy(class_counts, power=0.5),
        metrics=["accuracy", cb_keras.metrics.BalancedAccuracy(len(class_counts))],
    )
    model.fit(train, epochs=20, verbose=0)
    figures = model.evaluate(test, return_dict=True, verbose=0)
    print(f"balanced accuracy on the test images {figures['balanced_accuracy']:.3f}")
