"""TensorFlow's door: the ops that `tf.load_op_library` loads, with their gradients."""

import functools
from typing import Any, NamedTuple

from cb_keras import private_api, tracing
from cb_keras.checks import with_checked_sizes
from cb_keras.fused import gradients, library
from cb_keras.fused.kinds import Form, traits


class Mean(NamedTuple):
    """An upstream gradient that the op can say itself: that of a mean over all rows.

    Attributes:
        replicas: Number of replicas, each of which has as many rows.
    """

    replicas: int


def why_not(dtype: str) -> str | None:
    """Why the op can't be used for logits of this dtype here and now, or None if it can."""
    module, why = library.find()
    if module is None:
        return why
    if dtype not in ("float32", "bfloat16", "float16"):
        return f"it has no kernel for {dtype} logits"
    if not tracing.traced():
        return None
    if not library.compiles() and tracing.inside_xla():
        return "XLA compiles this function and can't call it (jit_compile)"
    if tracing.being_exported():
        return "this is being exported, and would load only where the op has been loaded before"
    return None


def names_bad_labels(logits: Any) -> bool:
    """As `cb_keras.fused.names_bad_labels`.

    The op counts examples along one axis, and its kernels on a GPU make NaN of invalid labels.
    """
    return len(logits.shape) == 2 and not _on_gpu()


def prepared(
    form: Form,
    labels: Any,
    logits: Any,
    class_weights: Any,
    gamma: float,
    expected_upstream: Any,
    sparse: bool,
) -> Any:
    """As `cb_keras.fused.prepared`."""
    import tensorflow as tf

    # Variables too, which a tape knows by what is read from them.
    labels, logits, class_weights = map(tf.convert_to_tensor, (labels, logits, class_weights))
    weights = _float32(class_weights)
    applied_gamma: Any = gamma if traits(form.kind).takes_gamma else 0.0
    if not tf.executing_eagerly():  # an eager op takes the number, in less time than a tensor
        applied_gamma = tf.constant(applied_gamma, tf.float32)
    num_classes = logits.shape[-1]
    labels = _class_ids(labels) if sparse else _float32(labels)
    if len(logits.shape) > 2:  # below all axes but the last become one, whatever their sizes
        labels = with_checked_sizes(labels, logits, sparse)
    labels = _reshaped(labels, [-1] if sparse else [-1, num_classes])
    rows = _reshaped(logits, [-1, num_classes])
    losses = of_rows(form, labels, rows, weights, applied_gamma, expected_upstream)
    if len(logits.shape) == 2:
        return losses
    return tf.ensure_shape(tf.reshape(losses, tf.shape(logits)[:-1]), logits.shape[:-1])


def mean_upstream(y_pred: Any) -> Any:
    """As `cb_keras.fused.mean_upstream`."""
    import tensorflow as tf

    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if not _on_gpu():
        return Mean(replicas)  # four operations less
    # As Keras does, so that the two are equal to the last bit: by the number, then the replicas.
    number = tf.size(y_pred, out_type=tf.int64) // y_pred.shape[-1]
    mean = 1.0 / tf.cast(number, tf.float32)
    return mean / replicas if replicas > 1 else mean


@functools.cache
def _on_gpu() -> bool:
    """Asked when there are tensors, after which TensorFlow's devices stay as they are."""
    return library.on_gpu()


def of_rows(
    form: Form, labels: Any, logits: Any, weights: Any, gamma: Any, expected_upstream: Any
) -> Any:
    """Losses `[N]` of logits `[N, C]`."""
    import tensorflow as tf

    module = library.find()[0]
    # float16 can't hold a gradient before the loss scale is in it: its gradient is computed in
    # the backward pass, where the upstream gradient is known. The same where no tape records.
    if not private_api.could_record() or logits.dtype == tf.float16:
        return module.cb_keras_loss(logits, labels, weights, gamma, **form.attributes)
    if isinstance(expected_upstream, Mean):
        applied, mean_replicas = gamma, expected_upstream.replicas  # any number: it is not read
    else:
        applied, mean_replicas = tf.cast(expected_upstream, tf.float32), 0
    # In a graph it is not known which gradients are wanted; those that are not are pruned.
    others = not tf.executing_eagerly() or _watched(labels, weights)
    soft_labels = [labels] if labels.dtype.is_floating else []

    def with_gradient(logits: Any, weights: Any, *soft_labels: Any) -> Any:
        inputs = (logits, soft_labels[0] if soft_labels else labels, weights, gamma)
        losses, gradient = module.cb_keras_loss_and_gradient(
            *inputs, applied, mean_replicas=mean_replicas, **form.attributes
        )

        def backward(upstream: Any) -> tuple[Any, ...]:
            stored = gradients.Stored(gradient, applied, mean_replicas)
            slope = gradients.by_logits(module, form, inputs, upstream, stored)
            by_others = (None, None)
            if others:
                by_others = gradients.by_weights_and_labels(module, form, inputs, upstream)
            return slope, *by_others[: 1 + len(soft_labels)]

        return losses, backward

    return private_api.with_custom_gradient(with_gradient, logits, weights, *soft_labels)


def _watched(*tensors: Any) -> bool:
    """Whether a tape or a forward accumulator may want derivatives by any of these."""
    return private_api.possible_gradient_types(list(tensors)) != 0


def _float32(tensor: Any) -> Any:
    import tensorflow as tf

    return tensor if tensor.dtype == tf.float32 else tf.cast(tensor, tf.float32)


def _class_ids(labels: Any) -> Any:
    """Labels in a type that the op reads, without any change to their values."""
    import tensorflow as tf

    if labels.dtype in (tf.int32, tf.int64, tf.uint64, tf.float32, tf.float64):
        return labels
    return tf.cast(labels, tf.int64 if labels.dtype == tf.uint32 else tf.int32)


def _reshaped(tensor: Any, shape: list[int]) -> Any:
    """`tensor` in `shape`; itself where it has that rank already, since every op costs time."""
    import tensorflow as tf

    return tensor if len(tensor.shape) == len(shape) else tf.reshape(tensor, shape)
