"""Checks of the losses' arguments, by value, shape and dtype; each raises ValueError."""

import contextlib
import math
from typing import Any

import keras
from keras import ops
from numpy.typing import ArrayLike

Shape = tuple[int | None, ...]
_LARGEST_FLOAT32 = 3.4028234663852886e38


def check_gamma(gamma: Any) -> float:
    """Returns `gamma` as a finite float >= 0, or raises ValueError."""
    value = math.nan
    if not isinstance(gamma, bool | str) and hasattr(gamma, "__float__"):
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            value = float(gamma)
    if not 0.0 <= value <= _LARGEST_FLOAT32:  # the losses compute in float32
        raise ValueError(
            f"`gamma` must be a finite number >= 0, got {gamma!r}; 0 is the sigmoid loss."
        )
    return value


def to_tensors(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Any, Any]:
    """Labels and predictions as tensors, or raises ValueError where they are no real numbers."""
    remedy = "number the classes first: np.unique(labels, return_inverse=True)[1]."
    labels = _to_tensor("y_true", y_true, "class ids or one-hot labels", remedy)
    remedy = "give the model's output."
    return labels, _to_tensor("y_pred", y_pred, "real numbers [..., C]", remedy)


def _to_tensor(name: str, value: Any, wanted: str, remedy: str) -> Any:
    dtype = getattr(value, "dtype", None)
    numbers = getattr(dtype, "kind", "f") not in "OSUcmM"  # numpy's; other types have no `kind`
    if numbers:
        value = ops.convert_to_tensor(value)
        dtype = keras.backend.standardize_dtype(value.dtype)
        numbers = dtype != "string" and "complex" not in dtype
    if not numbers:
        raise ValueError(f"`{name}` must be {wanted}, got dtype {dtype}; {remedy}")
    return value


def check_labels(y_true: Any, y_pred: Any, num_classes: int | None = None) -> bool:
    """Checks labels against predictions by shape and dtype alone, so at trace time too.

    Args:
        y_true: Labels, an array or tensor.
        y_pred: Predictions `[..., C]`, an array or tensor.
        num_classes: Number of class weights, if there are any.

    Returns:
        True for sparse class ids, False for dense labels `[..., C]`.

    Raises:
        ValueError: They do not fit together.
    """
    labels, predictions = tuple(y_true.shape), tuple(y_pred.shape)
    classes = predictions[-1] if predictions else None
    if classes is None:
        raise ValueError(f"`y_pred` must be [..., C] with a known C, got shape {predictions}.")
    if classes == 0:
        raise ValueError(f"`y_pred` of shape {predictions} has no classes: its last axis is empty.")
    if num_classes is not None and classes != num_classes:
        remedy = "give one per output of the model."
        if classes == 1:  # one count for one output would weight nothing
            remedy = (
                "give the model two outputs and use the softmax loss, with the counts "
                "[n_negative, n_positive] and 0/1 labels."
            )
        raise ValueError(
            f"`y_pred` has {classes} classes (shape {predictions}) but there are {num_classes} "
            f"class counts or weights: {remedy}"
        )
    sparse = _is_sparse(labels, predictions)
    if sparse is None:
        raise ValueError(
            f"`y_true` has shape {labels}, which fits no labels for `y_pred` of shape "
            f"{predictions}: expected class ids {predictions[:-1]} or {(*predictions[:-1], 1)}, or "
            f"one-hot labels {predictions}."
        )
    if sparse and classes == 1:
        raise ValueError(
            f"`y_true` of shape {labels} holds class ids, but `y_pred` of shape {predictions} has "
            "one output only: for 0/1 labels of a single output give them the shape of `y_pred`."
        )
    dtype = keras.backend.standardize_dtype(y_true.dtype)
    if sparse and dtype in ("float16", "bfloat16", "bool"):
        raise ValueError(
            f"`y_true` holds class ids as {dtype}, which cannot tell all classes apart (bfloat16 "
            "rounds 257 to 256): cast them to int32 before anything else casts them."
        )
    return sparse


def _is_sparse(labels: Shape, predictions: Shape) -> bool | None:
    """True, False, or None where the shapes do not fit; unknown (None) sizes fit any size."""

    def fit(a: Shape, b: Shape) -> bool:
        return len(a) == len(b) and all(x == y or None in (x, y) for x, y in zip(a, b, strict=True))

    if fit(labels, predictions[:-1]):
        return True
    if len(labels) != len(predictions) or not fit(labels[:-1], predictions[:-1]):
        return None
    if labels[-1] is None:
        return None  # [..., 1] and [..., C] are both possible: never guess
    if labels[-1] == predictions[-1]:
        return False
    return True if labels[-1] == 1 else None
