"""The operations of RandAugment, for every backend: Keras' layers with the paper's ranges.

`keras.layers.RandAugment` itself can't be used: its `get_random_transformation` takes a seed and
ignores it, so that its counter would break an exact resume; it gives all images of a batch the same
operations; and its ranges grow the wrong way for posterising and solarising (a small factor leaves
one bit, and inverts all), and one way only for the rotation. Nor can `keras.layers.Equalization`,
which equalises all images of a batch by one histogram.
"""

import keras
from keras import layers, ops

PIXELS = (0, 255)
GRAY = 128.0  # outside of the image: 0 once it is standardised, as in the official code
MOVED = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")


class Stream(keras.random.SeedGenerator):
    """A seed for each call, of a key and a counter that begins at 0 with every stream.

    Args:
        key: Seed of a stateless stream.
        fold_in: Function of a key and a number that gives another key.
    """

    def __init__(self, key, fold_in):  # without a variable, which is what `super()` makes
        self.key, self.fold_in, self.drawn = key, fold_in, 0

    def next(self, ordered=True):
        """The next seed."""
        del ordered
        self.drawn += 1
        return self.fold_in(self.key, self.drawn)


def names(channels):
    """Names of the operations on images of so many channels, but for the one that does nothing."""
    found = ("autocontrast", "equalize", "solarize", "posterize", "contrast", "brightness")
    return (*found, "sharpness", *MOVED, *(["color"] if channels == 3 else []))


def strengths(magnitude):
    """The largest rotation in degrees, and shear or translation in sides, either way."""
    return 30 * magnitude, 0.3 * magnitude


def make_layers(magnitude):
    """The layer of Keras of each operation that is one, by name."""
    outside = {"fill_mode": "constant", "fill_value": GRAY}
    (turned, moved), strength = strengths(magnitude), 0.9 * magnitude
    whole = {"value_range": PIXELS}
    return {
        "autocontrast": layers.AutoContrast(**whole),
        "solarize": layers.Solarization(threshold_factor=magnitude, **whole),
        "posterize": layers.RandomPosterization([8 - max(1, round(4 * magnitude)), 8], **whole),
        "contrast": layers.RandomContrast(strength, **whole),
        "brightness": layers.RandomBrightness(0.5 * magnitude, **whole),
        "sharpness": layers.RandomSharpness([0.5 - strength / 2, 0.5 + strength / 2], **whole),
        "rotate": layers.RandomRotation(turned / 360, **outside),
        "shear_x": layers.RandomShear(moved, 0.0, **outside),
        "shear_y": layers.RandomShear(0.0, moved, **outside),
        "translate_x": layers.RandomTranslation(0.0, moved, **outside),
        "translate_y": layers.RandomTranslation(moved, 0.0, **outside),
        "color": layers.RandomColorDegeneration(strength, **whole),
    }


def transform(name, layer, pixels, seed):
    """The images of an operation that is a layer.

    Args:
        name: Of the operation.
        layer: Its layer.
        pixels: float32 `[B, H, W, channels]`.
        seed: `Stream`.
    """
    # Keras solarises what is above a threshold of which a small factor makes a low one.
    given = 255.0 - pixels if name == "solarize" else pixels
    drawn = layer.get_random_transformation(given, training=True, seed=seed)
    return layer.transform_images(given, drawn, training=True)


def equalize(pixels, at_most):
    """Each channel of each image through its own cumulative histogram, stretched to 0 to 255.

    Args:
        pixels: float32 `[B, H, W, channels]`.
        at_most: How many pixels of a channel have at most each value, float32 `[B, 256, channels]`.
    """
    shape = ops.shape(pixels)
    number = at_most[:, -1:]
    least = ops.min(ops.where(at_most > 0, at_most, number), axis=1, keepdims=True)
    table = ops.round((at_most - least) * 255 / ops.maximum(number - least, 1))
    same = ops.reshape(ops.arange(256, dtype="float32"), (1, 256, 1))
    table = ops.where(number == least, same, table)  # one value alone stays as it is
    values = ops.reshape(ops.cast(pixels, "int32"), (shape[0], -1, shape[3]))
    return ops.reshape(ops.take_along_axis(table, values, axis=1), shape)
