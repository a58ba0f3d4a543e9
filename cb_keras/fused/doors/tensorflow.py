"""TensorFlow's door: the ops that `tf.load_op_library` loads, with their gradients."""

from typing import Any

from cb_keras import private_api, tracing
from cb_keras.fused import gradients, library
from cb_keras.fused.kinds import Form, traits


def why_not(dtype: str) -> str | None:
    """Why the op can't be used for logits of this dtype here and now, or None if it can."""
    module, why = library.find()
    if module is None:
        return why
    if dtype not in ("float32", "bfloat16", "float16"):
        return f"it has no kernel for {dtype} logits"
    if tracing.inside_xla():
        return "XLA compiles this function and can't call it (jit_compile)"
    if tracing.being_exported():
        return "this is being exported, and would load only where the op has been loaded before"
    return None


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

    weights = tf.cast(tf.convert_to_tensor(class_weights), tf.float32)
    applied_gamma = tf.constant(gamma if traits(form.kind).takes_gamma else 0.0, tf.float32)
    num_classes = logits.shape[-1]
    labels = _class_ids(labels) if sparse else tf.cast(labels, tf.float32)
    labels = _reshaped(labels, [-1] if sparse else [-1, num_classes])
    rows = _reshaped(logits, [-1, num_classes])
    losses = _of_rows(form, labels, rows, weights, applied_gamma, expected_upstream)
    if len(logits.shape) == 2:
        return losses
    return tf.ensure_shape(tf.reshape(losses, tf.shape(logits)[:-1]), logits.shape[:-1])


def mean_upstream(y_pred: Any) -> Any:
    """As `cb_keras.fused.mean_upstream`."""
    import tensorflow as tf

    # As Keras does, so that the two are equal to the last bit: by the number, then the replicas.
    number = tf.size(y_pred, out_type=tf.int64) // y_pred.shape[-1]
    mean = 1.0 / tf.cast(number, tf.float32)
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return mean / replicas if replicas > 1 else mean


def _of_rows(
    form: Form, labels: Any, logits: Any, weights: Any, gamma: Any, expected_upstream: Any
) -> Any:
    """Losses `[N]` of logits `[N, C]`."""
    import tensorflow as tf

    module = library.find()[0]
    # float16 can't hold a gradient before the loss scale is in it: its gradient is computed in
    # the backward pass, where the upstream gradient is known. The same where no tape records.
    if not private_api.could_record() or logits.dtype == tf.float16:
        return module.cb_keras_loss(logits, labels, weights, gamma, **form.attributes)
    applied = tf.cast(expected_upstream, tf.float32)
    # In a graph it is not known which gradients are wanted; those that are not are pruned.
    others = not tf.executing_eagerly() or _watched(labels, weights)
    soft_labels = [labels] if labels.dtype.is_floating else []

    @tf.custom_gradient
    def with_gradient(logits: Any, weights: Any, *soft_labels: Any) -> Any:
        inputs = (logits, soft_labels[0] if soft_labels else labels, weights, gamma)
        losses, gradient = module.cb_keras_loss_and_gradient(*inputs, applied, **form.attributes)

        def backward(upstream: Any) -> tuple[Any, ...]:
            slope = _slope(module, form, inputs, gradient, upstream, applied)
            by_others = (None, None)
            if others:
                by_others = gradients.by_weights_and_labels(module, form, inputs, upstream)
            return slope, *by_others[: 1 + len(soft_labels)]

        return losses, backward

    return with_gradient(logits, weights, *soft_labels)


def _slope(
    module: Any, form: Form, inputs: gradients.Inputs, gradient: Any, upstream: Any, applied: Any
) -> Any:
    """The gradient by the logits, of one that was stored for the upstream gradient `applied`."""
    import tensorflow as tf

    if gradient.dtype == tf.float32:
        return module.cb_keras_scale_rows(gradient, upstream, applied)

    def again() -> Any:
        return module.cb_keras_loss_and_gradient(*inputs, upstream, **form.attributes)[1]

    return tf.cond(tf.reduce_all(upstream == applied), lambda: gradient, again)


def _watched(*tensors: Any) -> bool:
    """Whether a tape or a forward accumulator may want derivatives by any of these."""
    return private_api.possible_gradient_types(list(tensors)) != 0


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
