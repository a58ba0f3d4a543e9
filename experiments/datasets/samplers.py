"""Which images an epoch has, and in which order, in TensorFlow: the bits of `draws.order`."""

import tensorflow as tf

from experiments.datasets import draws
from experiments.runs import sampling


def order(sampler, labels, seed, epoch, epochs, key):
    """As `draws.order`, for an epoch that a tensor says.

    Args:
        sampler: As there.
        labels: As there, an array.
        seed: As there.
        epoch: int64 scalar.
        epochs: As there.
        key: Seed `[2]` of the epoch's stateless random stream, which the uniform sampler draws by.

    Returns:
        int32 tensor `[N]` of positions.
    """
    if sampler == sampling.UNIFORM:
        return uniform(len(labels), key)

    def positions(epoch):
        return draws.order(sampler, labels, seed, int(epoch), epochs)

    # Without state: an epoch may be asked for at any time, and twice.
    found = tf.numpy_function(positions, [epoch], tf.int32, stateful=False)
    return tf.ensure_shape(found, [len(labels)])


def uniform(number, key):
    """Every example once, in an order that the key determines: int32 `[number]`, a permutation."""
    return tf.random.experimental.stateless_shuffle(tf.range(number), key, alg="philox")
