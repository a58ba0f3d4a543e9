"""In which order an epoch shows the training images. Adding a sampler is a function and a line."""

import tensorflow as tf


def uniform(labels, key):
    """Every example once, in an order of this key's own.

    Args:
        labels: int32 tensor `[N]`, of all training images.
        key: Seed `[2]` of a stateless random stream, another one in every epoch.

    Returns:
        int32 tensor `[N]` of positions: a permutation.
    """
    positions = tf.range(tf.shape(labels)[0])
    return tf.random.experimental.stateless_shuffle(positions, key, alg="philox")


SAMPLERS = {"uniform": uniform}
