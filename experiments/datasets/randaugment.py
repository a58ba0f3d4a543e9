"""RandAugment on TensorFlow, without state: a batch is a pure function of its key."""

import tensorflow as tf

from experiments.datasets import image_operations


class _Stream(image_operations.Stream):
    """Of a key `[2]`."""

    def __init__(self, key):
        super().__init__(key, _fold_in)


def _fold_in(key, number):
    return tf.cast(tf.random.fold_in(key, number, alg="philox"), tf.int32)


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
        self._names = image_operations.names(channels)
        self._layers = image_operations.make_layers(magnitude)

    def __call__(self, images, key):
        """The images, uint8 `[B, H, W, channels]`, changed.

        Args:
            images: uint8 `[B, H, W, channels]`.
            key: Seed `[2]` of a stateless stream, a different one for every batch.
        """
        stream, number = _Stream(key), len(self._names) + 1  # the last is nothing
        pixels = tf.cast(images, tf.float32)
        for _ in range(self.operations):
            chosen = tf.random.stateless_uniform(
                tf.shape(images)[:1], stream.next(), 0, number, tf.int32, alg="philox"
            )
            places = tf.dynamic_partition(tf.range(tf.shape(images)[0]), chosen, number)
            parts = tf.dynamic_partition(pixels, chosen, number)
            changed = [
                self._changed(name, part, stream)
                for name, part in zip(self._names, parts, strict=False)
            ]
            pixels = tf.dynamic_stitch(places, [*changed, parts[-1]])
            pixels = tf.ensure_shape(pixels, images.shape)
        return tf.cast(tf.clip_by_value(tf.round(pixels), *image_operations.PIXELS), tf.uint8)

    def _changed(self, name, pixels, stream):
        """The images of one operation; none, as it happens, are too few for some of Keras'."""
        seed = _Stream(stream.next())

        def change():
            if name == "equalize":
                return image_operations.equalize(pixels, _at_most(pixels))
            return image_operations.transform(name, self._layers[name], pixels, seed)

        return tf.cond(tf.shape(pixels)[0] > 0, change, lambda: pixels)


def _at_most(pixels):
    """How many pixels of each channel have at most each value, float32 `[B, 256, channels]`."""
    number, _, _, channels = tf.unstack(tf.shape(pixels))
    values = tf.transpose(tf.cast(pixels, tf.int32), [0, 3, 1, 2])
    values = tf.reshape(values, [number * channels, -1])
    counts = tf.math.bincount(values, minlength=256, maxlength=256, axis=-1, dtype=tf.float32)
    counts = tf.reshape(counts, [number, channels, 256])
    return tf.transpose(tf.cumsum(counts, axis=-1), [0, 2, 1])
