"""The call of the fused op on any backend, and why it can't be called."""

from typing import Any

import keras
from numpy.typing import ArrayLike

from cb_keras.checks import (
    check_gamma,
    check_ignore_class,
    check_label_smoothing,
    check_labels,
    refuse_invalid_class_ids,
    to_tensors,
    void_class_ids,
)
from cb_keras.counts import ByClass, weights_tensor
from cb_keras.fused import doors
from cb_keras.fused.errors import FusedOpError
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
        tf.errors.InvalidArgumentError: On TensorFlow, on the CPU and without XLA, a class id that
            is outside `[0, C)` or not a whole number, or a multi-hot label of a sigmoid or focal
            loss outside [0, 1], by position and value; ValueError for a class id in eager code of
            JAX and PyTorch. Elsewhere the loss and the gradient of such an example are NaN.
    """
    labels, logits = to_tensors(y_true, y_pred)
    weights = weights_tensor("class_weights", class_weights)
    sparse = check_labels(labels, logits, weights.shape[0])
    reason = why_not(loss, keras.backend.standardize_dtype(logits.dtype))
    if reason:
        raise FusedOpError(f"the fused op can't be used: {reason}.")
    if traits(loss).takes_gamma:
        gamma = check_gamma(gamma)
    form = Form(loss, check_label_smoothing(label_smoothing), check_ignore_class(ignore_class))
    if form.label_smoothing and not traits(loss).takes_label_smoothing:
        raise ValueError(f"`label_smoothing` must be 0 for {loss!r}, got {label_smoothing}.")
    void_class_ids(labels, sparse, form.ignore_class)  # refuses dense labels
    if sparse and keras.backend.backend() != "tensorflow":  # whose op says which label it was
        labels = refuse_invalid_class_ids(labels, logits.shape[-1], form.ignore_class)
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
        class_weights: A tensor or variable `[C]`; where the form adjusts the logits `[1 + n, C]`,
            with what it names after the weights.
        gamma: A finite float >= 0; ignored where the loss has no gamma.
        expected_upstream: As of `crossentropy`.
        sparse: Whether the labels are class ids, as `check_labels` says.

    Returns:
        Loss per example, float32 `[...]`.
    """
    door, why = doors.find()
    if door is None:
        raise FusedOpError(f"the fused op can't be used: {why}.")
    return door.prepared(form, labels, logits, class_weights, gamma, expected_upstream, sparse)


def why_not(loss: Kind, dtype: str, from_logits: bool = True) -> str | None:
    """Why the op can't be used here and now, or None if it can.

    Args:
        loss: Its name in the op.
        dtype: Name of the logits' dtype.
        from_logits: Whether the predictions are logits.
    """
    traits(loss)  # raises where the op has no such loss
    door, why = doors.find()
    if door is None:
        return why
    if not from_logits:
        return "it takes logits, not probabilities"
    return door.why_not(dtype)


def names_bad_labels(y_pred: Any) -> bool:
    """Whether the op, where it is used, refuses invalid labels of these predictions in words.

    Those are class ids that are not classes, and multi-hot labels of a sigmoid or focal loss
    outside [0, 1]. Elsewhere the loss and the gradient of such an example are NaN.
    """
    door, _ = doors.find()
    return door is not None and getattr(door, "names_bad_labels", lambda _: False)(y_pred)


def mean_upstream(y_pred: Any) -> Any:
    """What each loss of `y_pred` [..., C] gets from their mean, as `prepared` takes it.

    Only where `why_not` returns None.
    """
    door, why = doors.find()
    if door is None:
        raise FusedOpError(f"the fused op can't be used: {why}.")
    return door.mean_upstream(y_pred)
