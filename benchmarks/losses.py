"""The losses of the benchmarks: ours, and as TensorFlow, Keras, PyTorch and JAX users have them.

Importing this imports the backend of Keras and no other framework.
"""

import dataclasses
from collections.abc import Callable, Mapping

import keras

import cb_keras
from benchmarks.loss_problem import GAMMA
from cb_keras import functional


def _softmax_of_tensorflow(labels, logits):
    import tensorflow as tf

    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def _sigmoid_of_tensorflow(labels, logits):
    import tensorflow as tf

    targets = tf.one_hot(labels, logits.shape[-1])
    losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
    return tf.reduce_sum(losses, axis=-1)


def _focal_of_tensorflow(labels, logits):
    """As in tfa.losses and torchvision.ops."""
    import tensorflow as tf

    targets = tf.one_hot(labels, logits.shape[-1])
    losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
    p = tf.sigmoid(logits)
    p_t = targets * p + (1.0 - targets) * (1.0 - p)
    losses *= (1.0 - p_t) ** GAMMA
    return tf.reduce_sum(losses, axis=-1)


def _softmax_of_keras():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _summed(loss):
    """The mean over examples of a loss of Keras that averages over the classes, where we sum."""

    def mean_loss(labels, logits, sample_weight):
        C = logits.shape[-1]
        return C * loss(keras.ops.one_hot(labels, C), logits, sample_weight)

    return mean_loss


def _sigmoid_of_keras():
    return _summed(keras.losses.BinaryCrossentropy(from_logits=True))


def _focal_of_keras():
    return _summed(keras.losses.BinaryFocalCrossentropy(gamma=GAMMA, from_logits=True))


def _softmax_focal_of_tensorflow(labels, logits):
    """As Keras' CategoricalFocalCrossentropy, without its clipping."""
    import tensorflow as tf

    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return (1.0 - tf.exp(-losses)) ** GAMMA * losses


def _softmax_focal_of_keras():
    loss = keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=GAMMA, from_logits=True)

    def mean_loss(labels, logits, sample_weight):
        return loss(keras.ops.one_hot(labels, logits.shape[-1]), logits, sample_weight)

    return mean_loss


def _softmax_of_torch(torch, labels, logits):
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none")


def _terms_of_torch(torch, labels, logits):
    """Binary cross-entropies [N, C] and the targets."""
    classes = torch.arange(logits.shape[-1], device=logits.device)
    targets = (labels[:, None] == classes).to(logits.dtype)
    function = torch.nn.functional.binary_cross_entropy_with_logits
    return function(logits, targets, reduction="none"), targets


def _sigmoid_of_torch(torch, labels, logits):
    return _terms_of_torch(torch, labels, logits)[0].sum(-1)


def _focal_of_torch(torch, labels, logits):
    losses, targets = _terms_of_torch(torch, labels, logits)
    p = torch.sigmoid(logits)
    p_t = targets * p + (1.0 - targets) * (1.0 - p)
    return (losses * (1.0 - p_t) ** GAMMA).sum(-1)


def _softmax_focal_of_torch(torch, labels, logits):
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    return (1.0 - torch.exp(-losses)) ** GAMMA * losses


def _softmax_of_jax(jax, labels, logits):
    """As optax.softmax_cross_entropy_with_integer_labels."""
    own = jax.numpy.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
    return jax.nn.logsumexp(logits, axis=-1) - own


def _terms_of_jax(jax, labels, logits):
    """Binary cross-entropies [N, C] as optax.sigmoid_binary_cross_entropy, and the targets."""
    targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    present, absent = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    return -targets * present - (1.0 - targets) * absent, targets


def _sigmoid_of_jax(jax, labels, logits):
    return _terms_of_jax(jax, labels, logits)[0].sum(-1)


def _focal_of_jax(jax, labels, logits):
    """As optax.sigmoid_focal_loss."""
    losses, targets = _terms_of_jax(jax, labels, logits)
    p = jax.nn.sigmoid(logits)
    p_t = targets * p + (1.0 - targets) * (1.0 - p)
    return (losses * (1.0 - p_t) ** GAMMA).sum(-1)


def _softmax_focal_of_jax(jax, labels, logits):
    losses = _softmax_of_jax(jax, labels, logits)
    return (1.0 - jax.numpy.exp(-losses)) ** GAMMA * losses


@dataclasses.dataclass(frozen=True)
class Loss:
    """One loss; labels are class ids [N], logits [N, C].

    Attributes:
        function: Of `cb_keras.functional`.
        loss_class: Of `cb_keras.losses`.
        tensorflow: Function of labels and logits, unweighted losses [N].
        keras: Function without arguments that makes one of labels, logits and sample weights, the
            mean over the batch.
        torch: Function of the module torch, labels and logits, unweighted losses [N].
        jax: The same of the module jax.
        arguments: What ours take besides labels, logits and class weights.
        keras_clips: Whether Keras clips the probabilities, so that rare examples have no gradient.
    """

    function: Callable
    loss_class: type
    tensorflow: Callable
    keras: Callable
    torch: Callable
    jax: Callable
    arguments: Mapping[str, float] = dataclasses.field(default_factory=dict)
    keras_clips: bool = False


LOSSES = {
    "softmax": Loss(
        functional.class_balanced_softmax_crossentropy,
        cb_keras.losses.ClassBalancedSoftmaxCrossentropy,
        _softmax_of_tensorflow,
        _softmax_of_keras,
        _softmax_of_torch,
        _softmax_of_jax,
    ),
    "sigmoid": Loss(
        functional.class_balanced_sigmoid_crossentropy,
        cb_keras.losses.ClassBalancedSigmoidCrossentropy,
        _sigmoid_of_tensorflow,
        _sigmoid_of_keras,
        _sigmoid_of_torch,
        _sigmoid_of_jax,
    ),
    "focal": Loss(
        functional.class_balanced_focal_crossentropy,
        cb_keras.losses.ClassBalancedFocalCrossentropy,
        _focal_of_tensorflow,
        _focal_of_keras,
        _focal_of_torch,
        _focal_of_jax,
        {"gamma": GAMMA},
    ),
    "softmax_focal": Loss(
        functional.class_balanced_softmax_focal_crossentropy,
        cb_keras.losses.ClassBalancedSoftmaxFocalCrossentropy,
        _softmax_focal_of_tensorflow,
        _softmax_focal_of_keras,
        _softmax_focal_of_torch,
        _softmax_focal_of_jax,
        {"gamma": GAMMA},
        keras_clips=True,
    ),
}
