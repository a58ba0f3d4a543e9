"""The class-balanced losses as stateless functions, one value per example.

All three take the same labels and logits:

- `y_pred`: logits `[..., C]` (probabilities with `from_logits=False`), any float dtype. The
  arithmetic is in float32, or float64 for float64 logits, and the result has that dtype. The
  values are taken as they are: Keras' own losses look behind a softmax for its logits, these do
  not. Where it can be known that "logits" are the output of a softmax or sigmoid, a warning says
  so: on TensorFlow in graphs, and by Keras' mark on the tensor; the `Loss` classes also look at
  the values of their first eager batch. Code compiled by JAX or PyTorch can't be warned.
- `y_true`: sparse class ids `[...]` or `[..., 1]`, or one-hot / soft / multi-hot labels
  `[..., C]`. A class id outside `[0, C)`, or not a whole number, makes that example's loss and
  gradient NaN: nothing is clipped or wrapped to another class.
  A label outside `[0, 1]` makes its example's sigmoid and focal losses NaN.
- `class_weights`: `[C]`, or None for weight 1. A sparse label y has the weight `w_y`; dense
  labels have the mean weight of their positive classes, `sum_c y_c w_c / sum_c y_c` (Wu et al.
  2020, "Distribution-Balanced Loss", call it the average weight), and an example without
  positives `mean(class_weights)`. An example of weight 0 has loss 0 and gradient 0, also where
  its logits are infinite or NaN.
"""

from typing import Any, Literal

import keras
from keras import ops
from numpy.typing import ArrayLike

from cb_keras.checks import (
    check_flag,
    check_gamma,
    check_labels,
    safe_class_ids,
    to_tensors,
    warn_of_activation,
    with_checked_sizes,
)
from cb_keras.counts import ByClass, weights_tensor

_ROUNDING = 1e-3  # above 1, of soft labels
_SMALLEST_GAMMA = 1.2e-38  # below it float32 has 0, and 0 * infinity would be NaN
_LARGEST_LOGIT = 1e30  # whose losses can be added up in float32


def class_balanced_softmax_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    class_weights: ByClass | None = None,
    from_logits: bool = True,
) -> Any:
    """Class-balanced softmax cross-entropy, `w_y * -log softmax(z)_y`.

    Args:
        y_true: Labels, `[...]`, `[..., 1]` or `[..., C]`; see the module's docstring.
        y_pred: Logits `[..., C]`, or probabilities with `from_logits=False`.
        class_weights: `[C]`, from `class_balanced_weights`, or None.
        from_logits: Whether `y_pred` are logits.

    Returns:
        Loss per example, shape `[...]`, at least float32.

    Raises:
        ValueError: Shapes or dtypes that do not fit together.

    Source: Cui et al., CVPR 2019, equation 7.
    """
    labels, logits, weights, sparse = _prepare(y_true, y_pred, class_weights, from_logits)
    if logits.shape[-1] == 1:
        raise ValueError(
            f"`y_pred` of shape {tuple(logits.shape)} has one output, of which the softmax is "
            "always 1: give the model two outputs and 0/1 labels, or use the sigmoid loss."
        )
    if not from_logits:
        logits = ops.log(_clip_probabilities(logits))
    return _softmax(labels, logits, weights, sparse)


def class_balanced_sigmoid_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    class_weights: ByClass | None = None,
    from_logits: bool = True,
) -> Any:
    """Class-balanced sigmoid cross-entropy, `w_y * sum_c BCE(z_c, y_c)`.

    Args:
        y_true: Labels, `[...]`, `[..., 1]` or `[..., C]`; multi-hot ones too.
        y_pred: Logits `[..., C]`, or probabilities with `from_logits=False`.
        class_weights: `[C]`, from `class_balanced_weights`, or None.
        from_logits: Whether `y_pred` are logits.

    Returns:
        Loss per example, summed (not averaged) over classes, shape `[...]`, at least float32.

    Raises:
        ValueError: Shapes or dtypes that do not fit together.

    Source: Cui et al., CVPR 2019, equation 9.
    """
    return class_balanced_focal_crossentropy(
        y_true, y_pred, class_weights, gamma=0.0, from_logits=from_logits
    )


def class_balanced_focal_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    class_weights: ByClass | None = None,
    gamma: float = 1.0,
    from_logits: bool = True,
) -> Any:
    """Class-balanced focal loss, `w_y * sum_c (1 - p_t)^gamma * BCE(z_c, y_c)`.

    `p_t` is `sigmoid(z_c)` for a positive class and `1 - sigmoid(z_c)` otherwise. The factor is
    evaluated as `exp(-gamma * softplus(z_t))` with `z_t = z_c` or `-z_c`, which neither overflows
    nor has the infinite slope that `(1 - p_t)^gamma` has at `p_t = 1` for gamma < 1. A soft label
    y mixes the two terms, `y * positive + (1 - y) * negative`.

    Args:
        y_true: Labels, `[...]`, `[..., 1]` or `[..., C]`; multi-hot ones too.
        y_pred: Logits `[..., C]`, or probabilities with `from_logits=False`.
        class_weights: `[C]`, from `class_balanced_weights`, or None.
        gamma: Focusing parameter, a finite float >= 0; 0 is the sigmoid loss.
        from_logits: Whether `y_pred` are logits.

    Returns:
        Loss per example, summed over classes, shape `[...]`, at least float32.

    Raises:
        ValueError: `gamma` out of range; shapes or dtypes that do not fit together.

    Source: Cui et al., CVPR 2019, equation 11, after Lin et al., ICCV 2017.
    """
    gamma = check_gamma(gamma)
    labels, logits, weights, sparse = _prepare(y_true, y_pred, class_weights, from_logits)
    if not from_logits:
        p = _clip_probabilities(logits)
        logits = ops.log(p) - ops.log1p(-p)
    return _focal(labels, logits, weights, sparse, gamma)


def prepared_crossentropy(
    loss: Literal["softmax", "sigmoid", "focal"],
    labels: Any,
    logits: Any,
    class_weights: Any,
    gamma: Any,
    sparse: bool,
) -> Any:
    """The losses without any check, for gradients that the fused op leaves to these formulas.

    Args:
        loss: Its name; `gamma` is for `"focal"`.
        labels: Class ids `[N]` where `sparse`, else `[N, C]` of the logits' dtype.
        logits: `[N, C]`, float32 or float64.
        class_weights: `[C]`, of the logits' dtype.
        gamma: Finite float >= 0, or a scalar tensor.
        sparse: Whether the labels are class ids.

    Returns:
        Loss per example `[N]`.
    """
    if loss == "softmax":
        return _softmax(labels, logits, class_weights, sparse)
    return _focal(labels, logits, class_weights, sparse, gamma if loss == "focal" else 0.0)


def shares_of_weights(labels: Any) -> tuple[Any, Any]:
    """What each class weight contributes to each example's, and the sum of its labels.

    Args:
        labels: Multi-hot labels `[..., C]`, floats.

    Returns:
        `[..., C]`: labels over their sum, or 1/C where that is not positive; and `[..., 1]`.
    """
    total = ops.sum(labels, axis=-1, keepdims=True)
    has_label = ops.greater(total, 0.0)
    return ops.where(
        has_label, labels / ops.where(has_label, total, 1.0), 1 / labels.shape[-1]
    ), total


def label_slopes(labels: Any, logits: Any, gamma: Any) -> Any:
    """Derivative of the unweighted sigmoid (gamma 0) and focal losses by the labels, `[..., C]`."""
    positive = _binary_focal(_without_infinite(logits, labels), gamma)
    return positive - _binary_focal(_without_infinite(-logits, 1.0 - labels), gamma)


def _softmax(labels: Any, logits: Any, weights: Any, sparse: bool) -> Any:
    if not sparse:
        weight = _average_weight(labels, weights)
        return weight * _dense_crossentropy(labels, _tame_where_weightless(logits, weight, weights))
    class_ids, weight = _class_ids_and_weight(labels, logits, weights)
    logits = _tame_where_weightless(logits, weight, weights)
    if keras.backend.backend() == "jax":  # where Keras' own makes 0 * infinity of a logit of -inf
        one_hot = ops.one_hot(class_ids, logits.shape[-1], dtype=logits.dtype)
        return weight * _dense_crossentropy(one_hot, logits)
    return weight * ops.sparse_categorical_crossentropy(class_ids, logits, from_logits=True)


def _focal(labels: Any, logits: Any, weights: Any, sparse: bool, gamma: Any) -> Any:
    if not sparse:
        weight = ops.convert_to_tensor(_average_weight(labels, weights), dtype=labels.dtype)
        weight = _nan_where(ops.any(invalid_multi_hot(labels), axis=-1), weight)
        logits = _tame_where_weightless(logits, weight, weights)
        positive = _binary_focal(_without_infinite(logits, labels), gamma)
        negative = _binary_focal(_without_infinite(-logits, 1.0 - labels), gamma)
        return weight * ops.sum(labels * positive + (1.0 - labels) * negative, axis=-1)
    class_ids, weight = _class_ids_and_weight(labels, logits, weights)
    logits = _tame_where_weightless(logits, weight, weights)
    classes = ops.arange(logits.shape[-1], dtype=class_ids.dtype)
    is_label = ops.equal(ops.expand_dims(class_ids, -1), classes)
    z_t = ops.where(is_label, logits, -logits)
    return weight * ops.sum(_binary_focal(z_t, gamma), axis=-1)


def _prepare(
    y_true: ArrayLike, y_pred: ArrayLike, class_weights: ByClass | None, from_logits: bool
) -> tuple[Any, Any, Any, bool]:
    labels, predictions = to_tensors(y_true, y_pred)
    if check_flag("from_logits", from_logits):
        warn_of_activation(y_pred, look_at_values=False)
    given = keras.backend.standardize_dtype(predictions.dtype)
    dtype = "float64" if given == "float64" else "float32"
    predictions = ops.cast(predictions, dtype)
    if hasattr(predictions, "_keras_logits"):  # a new tensor, behind which Keras finds no logits
        predictions = ops.reshape(predictions, ops.shape(predictions))
    weights = None
    if class_weights is not None:
        weights = ops.cast(weights_tensor("class_weights", class_weights), dtype)
        if len(weights.shape) != 1:
            raise ValueError(f"`class_weights` must have shape [C], got {tuple(weights.shape)}.")
    sparse = check_labels(labels, predictions, None if weights is None else weights.shape[0])
    if not sparse:
        labels = ops.cast(labels, dtype)
    elif len(labels.shape) == len(predictions.shape):
        labels = ops.squeeze(labels, axis=-1)
    labels = with_checked_sizes(labels, predictions, sparse)
    return labels, predictions, weights, sparse


def _class_ids_and_weight(labels: Any, logits: Any, weights: Any) -> tuple[Any, Any]:
    """Class ids that are safe to index with, and the weight of each example, NaN where invalid.

    `logits` `[..., C]` says how many classes there are, and in which dtype weights of 1 are.
    """
    class_ids, valid = safe_class_ids(labels, logits.shape[-1])
    if weights is None:
        weight = ops.ones_like(class_ids, dtype=logits.dtype)
    else:
        weight = ops.take(weights, class_ids, axis=0)
    return class_ids, _nan_where(ops.logical_not(valid), weight)


def _nan_where(invalid: Any, x: Any) -> Any:
    """x, NaN where `invalid`; no NaN is made elsewhere, for the tools that stop at the first."""
    valid = ops.cast(ops.logical_not(invalid), x.dtype)
    return x + ops.zeros_like(valid) / valid


def _dense_crossentropy(labels: Any, logits: Any) -> Any:
    """`-sum_c y_c log softmax(z)_c`; a class with y_c = 0 adds 0, also where its logit is -inf.

    Not `ops.categorical_crossentropy`: on TensorFlow its gradient is `softmax(z) - y`, which is
    right only for labels of sum 1.
    """
    return -ops.sum(labels * _without_infinite(ops.log_softmax(logits), labels), axis=-1)


def _without_infinite(x: Any, labels: Any) -> Any:
    """x, with 0 for -inf where the label is 0: the product of their terms would be NaN.

    Finite ones stay, for the gradient by a label of 0 is made of them.
    """
    is_left_out = ops.logical_and(ops.equal(labels, 0.0), ops.equal(x, -float("inf")))
    return ops.where(is_left_out, 0.0, x)


def invalid_multi_hot(labels: Any) -> Any:
    """Where multi-hot labels are outside of [0, 1] or NaN, bool of their shape."""
    return ops.logical_not(ops.logical_and(labels >= 0.0, labels <= 1.0 + _ROUNDING))


def tame_where(rows: Any, logits: Any) -> Any:
    """Logits, 0 for those of the rows that are NaN, infinite or so large that a loss would be.

    Usual ones stay, for the gradient by the weight is made of them.
    """
    wild = ops.logical_not(ops.abs(logits) <= _LARGEST_LOGIT)
    return ops.where(ops.logical_and(rows, wild), 0.0, logits)


def _tame_where_weightless(logits: Any, weight: Any, weights: Any) -> Any:
    """Logits that make a finite loss of every example of class weight 0, whose loss is to be 0."""
    if weights is None:
        return logits
    rows = ops.expand_dims(ops.equal(weight, 0.0), -1)
    if (
        keras.backend.backend() != "tensorflow"
    ):  # XLA makes it part of the loss; PyTorch can't branch
        return tame_where(rows, logits)
    some = ops.any(ops.equal(weights, 0.0))
    return ops.cond(some, lambda: tame_where(rows, logits), lambda: logits)


def _average_weight(labels: Any, weights: Any) -> Any:
    if weights is None:
        return 1.0
    total = ops.sum(labels, axis=-1)
    has_label = ops.greater(total, 0.0)
    average = ops.sum(labels * weights, axis=-1) / ops.where(has_label, total, 1.0)
    return ops.where(has_label, average, ops.mean(weights))


def _binary_focal(z_t: Any, gamma: Any) -> Any:
    """`(1 - sigmoid(z_t))^gamma * -log sigmoid(z_t)`, elementwise."""
    crossentropy = ops.softplus(-z_t)
    if isinstance(gamma, float) and gamma < _SMALLEST_GAMMA:
        return crossentropy
    return ops.exp(-gamma * ops.softplus(z_t)) * crossentropy


def _clip_probabilities(p: Any) -> Any:
    epsilon = keras.config.epsilon()
    return ops.clip(p, epsilon, 1.0 - epsilon)


# Not by decorators, which would hide the functions' types.
for _function in (
    class_balanced_softmax_crossentropy,
    class_balanced_sigmoid_crossentropy,
    class_balanced_focal_crossentropy,
):
    keras.saving.register_keras_serializable(package="cb_keras")(_function)
