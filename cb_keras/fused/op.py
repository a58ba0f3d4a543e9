"""The call of the fused op, with its gradient, and why it can't be called."""

from typing import Any

from numpy.typing import ArrayLike

from cb_keras import private_api, tracing
from cb_keras.checks import (
    check_gamma,
    check_ignore_class,
    check_label_smoothing,
    check_labels,
    void_class_ids,
)
from cb_keras.counts import ByClass, weights_tensor
from cb_keras.fused import gradients, library
from cb_keras.fused.kinds import Form, Kind, traits


def crossentropy(
    loss: Kind,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    class_weights: ByClass,
    gamma: float = 0.0,
    expected_upstream: Any = 1.0,
    *,
    label_smoothing: float = 0.0,
    ignore_class: int | None = None,
) -> Any:
    """Class-balanced loss per example, with its gradient, in one pass over the logits.

    Same values as `cb_keras.functional`, to float32 rounding. The gradient by `y_pred` is the op's
    own; those by soft labels and by `class_weights`, and all higher derivatives, are computed from
    the formulas in `cb_keras.functional` where somebody asks for them.

    Args:
        loss: `"softmax"`, `"sigmoid"`, `"focal"` or `"softmax_focal"`.
        y_true: Class ids `[...]` or `[..., 1]`, or dense labels `[..., C]`.
        y_pred: Logits `[..., C]`, float32, bfloat16 or float16.
        class_weights: `[C]`.
        gamma: Focusing parameter of the focal losses, a finite float >= 0.
        expected_upstream: Scalar. Where the gradient that later arrives at every loss is this
            one, the backward pass returns the stored gradient unchanged; where it is not, it scales
            the rows (float32) or computes them again (bfloat16, which would be rounded twice).
        label_smoothing: Of the softmax loss, in [0, 1].
        ignore_class: Class id of examples that do not count, or None.

    Returns:
        Loss per example, float32 `[...]`.

    Raises:
        FusedOpError: `why_not` names a reason.
        ValueError: Shapes that do not fit together; a loss that the op does not have, or has no
            `label_smoothing`; `ignore_class` with dense labels.
        tf.errors.InvalidArgumentError: On the CPU, a class id that is outside `[0, C)` or not a
            whole number, by position and value. On a GPU its example's loss and gradient are NaN.
    """
    import tensorflow as tf

    labels, logits = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
    weights = weights_tensor("class_weights", class_weights)
    sparse = check_labels(labels, logits, weights.shape[0])
    reason = why_not(loss, logits.dtype.name)
    if reason:
        raise library.FusedOpError(f"the fused op can't be used: {reason}.")
    if traits(loss).takes_gamma:
        gamma = check_gamma(gamma)
    form = Form(loss, check_label_smoothing(label_smoothing), check_ignore_class(ignore_class))
    if form.label_smoothing and not traits(loss).takes_label_smoothing:
        raise ValueError(f"`label_smoothing` must be 0 for {loss!r}, got {label_smoothing}.")
    void_class_ids(labels, sparse, form.ignore_class)  # refuses dense labels
    return prepared(form, labels, logits, weights, gamma, expected_upstream, sparse)


def prepared(
    form: Form,
    labels: Any,
    logits: Any,
    class_weights: Any,
    gamma: float,
    expected_upstream: Any,
    sparse: bool,
) -> Any:
    """`crossentropy` of arguments that are checked already, where `why_not` returns None.

    Args:
        form: The loss, and what is fixed of it.
        labels: A tensor: class ids `[...]` or `[..., 1]` where `sparse`, else `[..., C]`.
        logits: A tensor `[..., C]`, float32, bfloat16 or float16.
        class_weights: A tensor or variable `[C]`.
        gamma: A finite float >= 0; ignored where the loss has no gamma.
        expected_upstream: As of `crossentropy`.
        sparse: Whether the labels are class ids, as `check_labels` says.

    Returns:
        Loss per example, float32 `[...]`.
    """
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


def why_not(loss: Kind, dtype: str, from_logits: bool = True) -> str | None:
    """Why the op can't be used here and now, or None if it can.

    Args:
        loss: Its name in the op.
        dtype: Name of the logits' dtype.
        from_logits: Whether the predictions are logits.
    """
    traits(loss)  # raises where the op has no such loss
    module, why = library.find()
    if module is None:
        return why
    if not from_logits:
        return "it takes logits, not probabilities"
    if dtype not in ("float32", "bfloat16", "float16"):
        return f"it has no kernel for {dtype} logits"
    if tracing.inside_xla():
        return "XLA compiles this function and can't call it (jit_compile)"
    if tracing.being_exported():
        return "this is being exported, and would load only where the op has been loaded before"
    return None


def mean_upstream(y_pred: Any) -> Any:
    """What each loss of `y_pred` [..., C] gets from their mean, and from nothing else."""
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
