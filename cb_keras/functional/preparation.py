"""What the functions are given, checked and brought into the form that the formulas take."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import keras
from keras import ops
from numpy.typing import ArrayLike

from cb_keras import private_api
from cb_keras.checks import (
    canonical_labels,
    check_flag,
    check_ignore_class,
    refuse_invalid_class_ids,
    refuse_invalid_one_hot,
    to_tensors,
    void_class_ids,
    warn_of_activation,
    with_checked_sizes,
)
from cb_keras.counts import ByClass, weights_tensor

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Prepared(NamedTuple):
    """Arguments of a formula.

    Attributes:
        labels: Class ids `[...]` of any type where `sparse`, else `[..., C]` of the dtype of the
            predictions.
        predictions: `[..., C]`, float32 or float64.
        weights: Class weights `[C]` of that dtype, or None.
        sparse: Whether the labels are class ids.
        void: Which examples `[...]`, or labels of a yes or no, do not count, bool, or None.
    """

    labels: Any
    predictions: Any
    weights: Any
    sparse: bool
    void: Any = None


def prepare(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    class_weights: ByClass | None,
    from_logits: bool,
    ignore_class: int | None = None,
) -> Prepared:
    """Checks the arguments of a public function and prepares them.

    Raises:
        ValueError: Shapes or dtypes that do not fit together; `ignore_class` with dense labels.
    """
    ignore_class = check_ignore_class(ignore_class)
    labels, predictions = to_tensors(y_true, y_pred)
    if check_flag("from_logits", from_logits):
        warn_of_activation(y_pred, look_at_values=False)
    weights = None
    if class_weights is not None:
        weights = weights_tensor("class_weights", class_weights)
        if len(weights.shape) != 1:
            raise ValueError(f"`class_weights` must have shape [C], got {tuple(weights.shape)}.")
    classes = None if weights is None else weights.shape[0]
    labels, sparse = canonical_labels(labels, predictions, classes)
    if sparse:
        labels = refuse_invalid_class_ids(labels, predictions.shape[-1], ignore_class)
    return prepare_checked(labels, predictions, weights, sparse, ignore_class)


def prepare_checked(
    labels: Any, predictions: Any, weights: Any, sparse: bool, ignore_class: int | None = None
) -> Prepared:
    """Prepares what has been checked: labels as `canonical_labels` returns them, tensors."""
    dtype = at_least_float32(predictions)
    predictions = ops.cast(predictions, dtype)
    if private_api.keras_logits(predictions) is not None:  # a new tensor: Keras finds none there
        predictions = ops.reshape(predictions, ops.shape(predictions))
    if weights is not None:
        weights = ops.cast(weights, dtype)
    if not sparse:
        labels = ops.cast(labels, dtype)
    labels = with_checked_sizes(labels, predictions, sparse)
    void = void_class_ids(labels, sparse, ignore_class)
    return Prepared(labels, predictions, weights, sparse, void)


def prepare_per_label(
    labels: Any, predictions: Any, weights: Any, ignore_class: int | None = None
) -> Prepared:
    """Prepares labels that are each a yes or no, as `per_label` returns them.

    Those that are `ignore_class` become 0, their predictions too, and are `void`, `[..., L]`.
    """
    prepared = prepare_checked(labels, predictions, weights, sparse=False)
    if ignore_class is None:
        return prepared
    void = ops.equal(prepared.labels, ignore_class)
    labels, predictions = (ops.where(void, 0.0, x) for x in (prepared.labels, prepared.predictions))
    return prepared._replace(labels=labels, predictions=predictions, void=void)


def refused_or(prepared: Prepared, losses: Any) -> Any:
    """The losses of a softmax, or an error where a dense label is outside of [0, 1]."""
    return losses if prepared.sparse else refuse_invalid_one_hot(prepared.labels, losses)


def at_least_float32(predictions: Any) -> str:
    """The dtype that the formulas compute in."""
    given = keras.backend.standardize_dtype(predictions.dtype)
    return "float64" if given == "float64" else "float32"


def clip_probabilities(p: Any) -> Any:
    """Probabilities, away from 0 and 1 by Keras' epsilon, as Keras' own losses clip them."""
    epsilon = keras.config.epsilon()
    return ops.clip(p, epsilon, 1.0 - epsilon)


def registered(function: _Function) -> _Function:
    """Registers a function with Keras, `cb_keras>NAME`, and leaves it its types."""
    keras.saving.register_keras_serializable(package="cb_keras")(function)
    return function
