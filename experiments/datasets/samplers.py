"""Which images an epoch has, and in which order: adding a sampler is a function and a line here."""

import tensorflow as tf


def uniform(labels, key):
    """Every example once, in an order that the key determines.

    Args:
        labels: int32 tensor `[N]`, of all training images.
        key: Seed `[2]` of a stateless random stream, a different one in every epoch.

    Returns:
        int32 tensor `[N]` of positions: a permutation.
    """
    positions = tf.range(tf.shape(labels)[0])
    return tf.random.experimental.stateless_shuffle(positions, key, alg="philox")


SAMPLERS = {"uniform": uniform}
