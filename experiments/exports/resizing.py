"""The resizing that an exported model does itself, in TensorFlow."""

import tensorflow as tf


def resized(images, size):
    """Images of any size at the size of a network, as `datasets.folder.decode.pixels`.

    That one is Pillow's, which rounds between the axes too, so that a pixel differs by one at most.

    Args:
        images: uint8 `[N, H, W, channels]`; N, H and W may be unknown.
        size: `(height, width)`.

    Returns:
        uint8 `[N, height, width, channels]`.
    """

    def resize():
        sides = tf.shape(images)[1:3]
        factors = tf.maximum(sides // size, 1)
        scale = tf.constant(size, tf.float32) * tf.cast(factors, tf.float32)
        filtered = tf.raw_ops.ScaleAndTranslate(
            images=_block_means(images, sides, factors),
            size=size,
            scale=scale / tf.cast(sides, tf.float32),
            translation=[0.0, 0.0],
            kernel_type="triangle",
            antialias=True,
        )
        return tf.cast(tf.clip_by_value(tf.round(filtered), 0, 255), tf.uint8)

    as_it_is = tf.reduce_all(tf.shape(images)[1:3] == size)
    return tf.ensure_shape(tf.cond(as_it_is, lambda: images, resize), [None, *size, None])


def _block_means(images, sides, factors):
    """Means of blocks of `factors` pixels, rounded; those at the end may be of fewer pixels."""
    blocks = -(-sides // factors)
    lacking = blocks * factors - sides
    padded = tf.pad(images, [[0, 0], [0, lacking[0]], [0, lacking[1]], [0, 0]])
    number, channels = tf.shape(images)[0], images.shape[3]
    shape = [number, blocks[0], factors[0], blocks[1], factors[1], channels]
    sums = tf.reduce_sum(tf.cast(tf.reshape(padded, shape), tf.int64), axis=[2, 4])
    rows, columns = (
        tf.minimum(factors[i], sides[i] - factors[i] * tf.range(blocks[i])) for i in (0, 1)
    )
    pixels = tf.cast(rows[:, None] * columns, tf.int64)[..., None]
    # As Pillow's `reduce` divides, which is one too low for some whole numbers.
    return tf.cast((sums + pixels // 2) * (2**24 // pixels) // 2**24, tf.uint8)
