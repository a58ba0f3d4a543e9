"""tf.data pipelines; order and augmentation are a pure function of (seed, epoch, step)."""

import numpy as np
import tensorflow as tf

from experiments.datasets import mixing, samplers
from experiments.datasets.draws import (
    CROP_COLUMNS,
    CROP_ROWS,
    CUTOUT,
    FLIP,
    MIX,
    ORDER,
    RANDAUGMENT,
    padding,
    steps_per_epoch,
)
from experiments.datasets.randaugment import RandAugment
from experiments.datasets.recipe import Recipe


def training_dataset(
    split, batch_size, seed, first_epoch, epochs, augmentation, sampler="uniform", recipe=None
):
    """Batches of epochs `first_epoch` to `epochs - 1`, one after the other.

    The sampler says which images an epoch has, and in which order. Nothing but (seed, epoch, step)
    enters the random numbers, so a run that starts at epoch k sees what an uninterrupted one sees.

    Args:
        split: `datasets.Split`.
        batch_size: Images per batch; the last batch of an epoch may be smaller.
        seed: Integer in `[0, 2^31)`.
        first_epoch: First epoch to produce.
        epochs: End of the run, which the progressive sampler goes by too.
        augmentation: `"none"`, `"crop"` or `"crop_flip"`.
        sampler: As of `draws.order`; `"uniform"` shows every image once.
        recipe: `Recipe`; None for nothing more.

    Returns:
        `tf.data.Dataset` of `(images uint8 [B, H, W, channels], labels int32 [B])`; of
        `(float32 [B, H, W, channels], float32 [B, C])` where the recipe mixes.
    """
    recipe = recipe or Recipe()
    before, after, mixed = _changes(recipe, split.images.shape[-1], seed)
    read, labels = _reader(split.images), tf.constant(split.labels)
    steps = steps_per_epoch(len(split.labels), batch_size)

    def epoch_batches(epoch):
        key = _stream(seed, epoch, 0, ORDER)
        order = samplers.order(sampler, split.labels, seed, epoch, epochs, key)
        return tf.data.Dataset.range(steps).map(
            lambda step: (epoch, step, order[step * batch_size : (step + 1) * batch_size])
        )

    def batch(epoch, step, chosen):
        pixels = before(read(chosen), epoch, step)
        if augmentation != "none":
            pixels = augment(pixels, seed, epoch, step, flip=augmentation == "crop_flip")
        return mixed(after(pixels, epoch, step), tf.gather(labels, chosen), epoch, step)

    remaining = tf.data.Dataset.range(first_epoch, epochs)
    batches = remaining.flat_map(epoch_batches).map(batch, num_parallel_calls=tf.data.AUTOTUNE)
    return batches.prefetch(tf.data.AUTOTUNE)


def _changes(recipe, channels, seed):
    """Functions of the recipe: of images before and after the crop, and of images and labels.

    Each also takes epoch and step, of which with the seed its random numbers are a function.
    """
    randaugment = RandAugment(recipe.randaugment, channels) if recipe.randaugment else None

    def before(images, epoch, step):
        if randaugment is None:
            return images
        return randaugment(images, _stream(seed, epoch, step, RANDAUGMENT))

    def after(images, epoch, step):
        if not recipe.cutout:
            return images
        return mixing.cutout(images, recipe.cutout, _stream(seed, epoch, step, CUTOUT))

    def mixed(images, labels, epoch, step):
        if not recipe.mixes:
            return images, labels
        key = _stream(seed, epoch, step, MIX)
        alphas = recipe.mixup_alpha, recipe.cutmix_alpha
        return mixing.mix(images, labels, recipe.num_classes, *alphas, key)

    return before, after, mixed


def evaluation_dataset(split, batch_size, one_hot=None):
    """Batches of `split` in its own order, their labels class ids or one-hot of so many classes."""
    batches = _in_order(split, batch_size)
    if one_hot:
        batches = batches.map(lambda images, labels: (images, tf.one_hot(labels, one_hot)))
    return batches.prefetch(tf.data.AUTOTUNE)


def _in_order(split, batch_size):
    if isinstance(split.images, np.ndarray):
        dataset = tf.data.Dataset.from_tensor_slices((split.images, split.labels))
        return dataset.batch(batch_size)
    read = _reader(split.images)
    dataset = tf.data.Dataset.from_tensor_slices((np.arange(len(split.labels)), split.labels))
    return dataset.batch(batch_size).map(
        lambda chosen, labels: (read(chosen), labels), num_parallel_calls=tf.data.AUTOTUNE
    )


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
