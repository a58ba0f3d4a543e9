"""RandAugment of the layers of Keras, without state: a batch is a pure function of its key.

`keras.layers.RandAugment` itself can't be used: its `get_random_transformation` takes a seed and
ignores it, so that its counter would break an exact resume; it gives all images of a batch the same
operations; and its ranges grow the wrong way for posterising and solarising (a small factor leaves
one bit, and inverts all), and one way only for the rotation. The operations are those of the paper,
made by Keras' layers, with the paper's ranges.
"""

import keras
import tensorflow as tf
from keras import layers

_PIXELS = (0, 255)
_GRAY = 128.0  # outside of the image: 0 once it is standardised, as in the official code


class _Stream(keras.random.SeedGenerator):
    """A seed for each call, of a key `[2]` and a counter that begins at 0 with every batch."""

    def __init__(self, key):  # without a variable, which is what `super()` makes
        self.key, self.drawn = key, 0

    def next(self, ordered=True):
        del ordered
        self.drawn += 1
        return tf.cast(tf.random.fold_in(self.key, self.drawn, alg="philox"), tf.int32)


class RandAugment:
    """Some operations on each image, chosen with equal chances, each of a random strength.

    The operations are nothing, autocontrast, equalisation, solarising, posterising, contrast,
    brightness, sharpness, rotation, shear and translation along one axis, and, of images of three
    channels, colour. A rotation is up to `30 * magnitude` degrees either way, a shear or a
    translation up to `0.3 * magnitude` of the side; contrast, colour and sharpness are 1 +-
    `0.9 * magnitude`; up to `0.5 * magnitude` of the whole range is added to the brightness.

    Args:
        magnitude: Largest strength, in (0, 1]; the paper's integers over 10.
        channels: Channels of the images.
        operations: Number of operations on each image.

    Source: Cubuk et al., "RandAugment", NeurIPS 2020.
    """

    def __init__(self, magnitude, channels, operations=2):
        self.operations = operations
        self._layers = _layers(magnitude)
        if channels != 3:
            del self._layers["color"]

    def __call__(self, images, key):
        """The images, uint8 `[B, H, W, channels]`, changed.

        Args:
            images: uint8 `[B, H, W, channels]`.
            key: Seed `[2]` of a stateless stream, a different one for every batch.
        """
        stream, number = _Stream(key), len(self._layers) + 1  # the last is nothing
        pixels = tf.cast(images, tf.float32)
        for _ in range(self.operations):
            chosen = tf.random.stateless_uniform(
                tf.shape(images)[:1], stream.next(), 0, number, tf.int32, alg="philox"
            )
            places = tf.dynamic_partition(tf.range(tf.shape(images)[0]), chosen, number)
            parts = tf.dynamic_partition(pixels, chosen, number)
            changed = [
                self._changed(name, layer, part, stream)
                for (name, layer), part in zip(self._layers.items(), parts, strict=False)
            ]
            pixels = tf.dynamic_stitch(places, [*changed, parts[-1]])
            pixels = tf.ensure_shape(pixels, images.shape)
        return tf.cast(tf.clip_by_value(tf.round(pixels), *_PIXELS), tf.uint8)

    def _changed(self, name, layer, pixels, stream):
        """The images of one operation; none, as it happens, are too few for some of Keras'."""
        seed = _Stream(stream.next())

        def change():
            # Keras solarises what is above a threshold of which a small factor makes a low one.
            given = 255.0 - pixels if name == "solarize" else pixels
            drawn = layer.get_random_transformation(given, training=True, seed=seed)
            return layer.transform_images(given, drawn, training=True)

        return tf.cond(tf.shape(pixels)[0] > 0, change, lambda: pixels)


def _layers(magnitude):
    """The layer of Keras of each operation, by name."""
    outside = {"fill_mode": "constant", "fill_value": _GRAY}
    moved, strength = 0.3 * magnitude, 0.9 * magnitude
    whole = {"value_range": _PIXELS}
    return {
        "autocontrast": layers.AutoContrast(**whole),
        "equalize": layers.Equalization(**whole),
        "solarize": layers.Solarization(threshold_factor=magnitude, **whole),
        "posterize": layers.RandomPosterization([8 - max(1, round(4 * magnitude)), 8], **whole),
        "contrast": layers.RandomContrast(strength, **whole),
        "brightness": layers.RandomBrightness(0.5 * magnitude, **whole),
        "sharpness": layers.RandomSharpness([0.5 - strength / 2, 0.5 + strength / 2], **whole),
        "rotate": layers.RandomRotation(magnitude * 30 / 360, **outside),
        "shear_x": layers.RandomShear(moved, 0.0, **outside),
        "shear_y": layers.RandomShear(0.0, moved, **outside),
        "translate_x": layers.RandomTranslation(0.0, moved, **outside),
        "translate_y": layers.RandomTranslation(moved, 0.0, **outside),
        "color": layers.RandomColorDegeneration(strength, **whole),
    }
