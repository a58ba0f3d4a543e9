"""tf.data pipelines; order and augmentation are a pure function of (seed, epoch, step)."""

import numpy as np
import tensorflow as tf

from experiments.datasets import samplers
from experiments.datasets.draws import (
    CROP_COLUMNS,
    CROP_ROWS,
    FLIP,
    ORDER,
    padding,
    steps_per_epoch,
)


def training_dataset(split, batch_size, seed, first_epoch, epochs, augmentation, sampler="uniform"):
    """Batches of epochs `first_epoch` to `epochs - 1`, one after the other.

    The sampler says which images an epoch has, and in which order. Nothing but (seed, epoch, step)
    enters the random numbers, so a run that starts at epoch k sees what an uninterrupted one sees.

    Args:
        split: `datasets.Split`.
        batch_size: Images per batch; the last batch of an epoch may be smaller.
        seed: Integer in `[0, 2^31)`.
        first_epoch: First epoch to produce.
        epochs: End of the run.
        augmentation: `"none"`, `"crop"` or `"crop_flip"`.
        sampler: A name in `samplers.SAMPLERS`; `"uniform"` shows every image once.

    Returns:
        `tf.data.Dataset` of `(images uint8 [B, H, W, channels], labels int32 [B])`.
    """
    read, labels = _reader(split.images), tf.constant(split.labels)
    steps = steps_per_epoch(len(split.labels), batch_size)

    def epoch_batches(epoch):
        order = samplers.SAMPLERS[sampler](labels, _stream(seed, epoch, 0, ORDER))
        return tf.data.Dataset.range(steps).map(
            lambda step: (epoch, step, order[step * batch_size : (step + 1) * batch_size])
        )

    def batch(epoch, step, chosen):
        pixels = read(chosen)
        if augmentation != "none":
            pixels = augment(pixels, seed, epoch, step, flip=augmentation == "crop_flip")
        return pixels, tf.gather(labels, chosen)

    epochs = tf.data.Dataset.range(first_epoch, epochs)
    batches = epochs.flat_map(epoch_batches).map(batch, num_parallel_calls=tf.data.AUTOTUNE)
    return batches.prefetch(tf.data.AUTOTUNE)


def evaluation_dataset(split, batch_size):
    """Batches of `split` in its own order."""
    if isinstance(split.images, np.ndarray):
        dataset = tf.data.Dataset.from_tensor_slices((split.images, split.labels))
        return dataset.batch(batch_size).prefetch(tf.data.AUTOTUNE)
    read = _reader(split.images)
    dataset = tf.data.Dataset.from_tensor_slices((np.arange(len(split.labels)), split.labels))
    batches = dataset.batch(batch_size).map(
        lambda chosen, labels: (read(chosen), labels), num_parallel_calls=tf.data.AUTOTUNE
    )
    return batches.prefetch(tf.data.AUTOTUNE)


def _reader(images):
    """Function of positions `[B]` that gives the images there, uint8 `[B, H, W, channels]`."""
    if isinstance(images, np.ndarray):
        constant = tf.constant(images)
        return lambda chosen: tf.gather(constant, chosen)

    def read(chosen):
        # Without state, so that tf.data may read several batches at once and in any order.
        found = tf.numpy_function(images.__getitem__, [chosen], tf.uint8, stateful=False)
        return tf.ensure_shape(found, [None, *images.shape[1:]])

    return read


def augment(images, seed, epoch, step, flip):
    """Random crop from the zero-padded images, and a random left-right flip, for a whole batch.

    The padding is an eighth of the side (4 pixels for 32), of raw zeros, as in the protocol.

    Args:
        images: uint8 `[B, H, W, channels]`, H and W known.
        seed: Seed of the run.
        epoch: Epoch, an int64 scalar.
        step: Step within the epoch, an int64 scalar.
        flip: Whether to flip half of the images.

    Returns:
        uint8 `[B, H, W, channels]`.
    """
    height, width = images.shape[1:3]
    pad_y, pad_x = padding(height), padding(width)
    number = tf.shape(images)[:1]

    def draw(purpose, high):
        stream = _stream(seed, epoch, step, purpose)
        return tf.random.stateless_uniform(number, stream, 0, high, tf.int32, alg="philox")

    rows = draw(CROP_ROWS, 2 * pad_y + 1)[:, None] + tf.range(height)
    columns = tf.range(width)[None]
    if flip:
        columns = tf.where(draw(FLIP, 2)[:, None] == 1, width - 1 - columns, columns)
    columns = draw(CROP_COLUMNS, 2 * pad_x + 1)[:, None] + columns
    padded = tf.pad(images, [[0, 0], [pad_y, pad_y], [pad_x, pad_x], [0, 0]])
    padded = tf.gather(padded, rows, axis=1, batch_dims=1)
    cropped = tf.gather(padded, columns, axis=2, batch_dims=1)
    return tf.ensure_shape(cropped, images.shape)


def _stream(seed, epoch, step, purpose):
    """Seed `[2]` of one stateless stream; distinct for every (seed, epoch, step, purpose)."""
    key = tf.constant(np.array([seed, purpose], "int64"))
    for number in (epoch, step):
        key = tf.random.fold_in(key, tf.cast(number, tf.int64), alg="philox")
    return key
