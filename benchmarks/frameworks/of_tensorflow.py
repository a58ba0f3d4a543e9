"""The contenders of benchmarks.frameworks on TensorFlow."""

import tensorflow as tf

from benchmarks import loss_contenders
from benchmarks.losses import LOSSES


def has_gpu():
    return loss_contenders.has_gpu()


def start(cores):
    """Leaves a GPU's memory to others; TensorFlow uses all cores that it may."""
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)


def arrays(problem):
    """Labels, logits and weights where they are computed with."""
    return loss_contenders.tensors(problem)


def step(tensors, mode, mean_loss):
    """Function without arguments that returns the loss and its gradient."""

    def loss_and_gradient(labels, logits, *weights):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = mean_loss(labels, logits, *weights)
        return loss, tape.gradient(loss, logits)

    if mode != "eager":
        # As arguments: what a tf.function captures may become a constant and be computed before.
        loss_and_gradient = tf.function(
            loss_and_gradient, jit_compile=mode == "jit", autograph=False
        )
    return lambda: loss_and_gradient(*tensors)


def composed(problem):
    """Mean loss in TensorFlow's own ops."""
    losses = LOSSES[problem.loss].tensorflow

    def mean_loss(labels, logits, weights):
        weights = tf.cast(tf.gather(weights, labels), logits.dtype)
        return tf.reduce_mean(weights * losses(labels, logits))

    return mean_loss


def copy(tensors):
    logits = tensors[1]
    deep_copy = tf.function(lambda x: tf.raw_ops.DeepCopy(x=x), autograph=False)
    return lambda: deep_copy(logits)


def finish(result):
    """Waits until `result` is computed."""
    if has_gpu():
        tf.test.experimental.sync_devices()
    return result
