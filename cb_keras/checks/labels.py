"""Labels against predictions, by dtype and shape: what fits, and class ids safe to index with."""

import contextlib
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from cb_keras.checks.nan import nan_where

Shape = tuple[int | None, ...]
_TOO_NARROW = ("float16", "bfloat16", "bool")  # for class ids


def to_tensors(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Any, Any]:
    """Labels and predictions as tensors, or raises ValueError where they are not real numbers.

    A label that is not a class does not become one where the backend has narrower types.
    """
    remedy = (
        "number the classes first, in the order of the class counts and of the model's outputs: "
        "[names.index(label) for label in labels], with the classes' `names` in that order."
    )
    predictions = _to_tensor("y_pred", y_pred, "real numbers [..., C]", "give the model's output.")
    if keras.backend.backend() == "jax":
        y_true = _narrowed(y_true, tuple(predictions.shape))
    return _to_tensor("y_true", y_true, "class ids or one-hot labels", remedy), predictions


def _narrowed(labels: Any, shape_of_predictions: Shape) -> Any:
    """Labels that may lose half their bits, as JAX takes them: 2^32 + 1 would become class 1."""
    is_array = hasattr(labels, "__array__") and not ops.is_tensor(labels)  # also a Series
    if is_array or isinstance(labels, list | tuple):
        with contextlib.suppress(ValueError, TypeError):  # rows of different lengths, tracers
            labels = np.asarray(labels)
    if not isinstance(labels, np.ndarray | np.generic):
        return labels
    if labels.dtype in (np.int64, np.uint64):
        return np.clip(labels, 0 if labels.dtype.kind == "u" else -(2**31), 2**31 - 1)
    if labels.dtype == np.float64 and labels.shape != shape_of_predictions:
        rounded = labels.astype("float32")
        return np.where(_becomes_whole(labels, rounded, np.floor), np.float32("nan"), rounded)
    return labels


def narrow_class_ids(class_ids: Any, dtype: str) -> Any:
    """Class ids as floats of `dtype`; one that is not whole does not become whole, but NaN."""
    narrow = ops.cast(class_ids, dtype)
    if keras.backend.standardize_dtype(class_ids.dtype) != "float64" or dtype == "float64":
        return narrow
    return nan_where(_becomes_whole(class_ids, narrow, ops.floor), narrow)


def invalid_class_ids(class_ids: Any, num_classes: int) -> Any:
    """Where class ids are outside `[0, num_classes)` or not whole, bool of their shape."""
    dtype = keras.backend.standardize_dtype(class_ids.dtype)
    if dtype in ("uint32", "uint64"):
        class_ids = ops.cast(class_ids, "int64")  # what is too large for it becomes negative
    elif "float" not in dtype and dtype != "int64":
        class_ids = ops.cast(class_ids, "int32")  # C may be larger than the labels' own type holds
    valid = ops.logical_and(class_ids >= 0, class_ids < num_classes)
    if "float" in dtype:
        valid = ops.logical_and(valid, ops.equal(class_ids, ops.floor(class_ids)))
    return ops.logical_not(valid)


def safe_class_ids(class_ids: Any, num_classes: int) -> tuple[Any, Any]:
    """Class ids as int32 that are safe to index with, 0 for invalid ones; and which are valid."""
    valid = ops.logical_not(invalid_class_ids(class_ids, num_classes))
    return ops.cast(ops.where(valid, class_ids, ops.zeros_like(class_ids)), "int32"), valid


def void_class_ids(labels: Any, sparse: bool, ignore_class: int | None) -> Any:
    """Where class ids are `ignore_class`, bool of their shape; None where nothing is ignored.

    Raises:
        ValueError: There is a class to ignore, but the labels are dense.
    """
    if ignore_class is None:
        return None
    if not sparse:
        raise ValueError(
            f"`ignore_class` must be None with dense labels, got {ignore_class} for `y_true` of "
            f"shape {tuple(labels.shape)}: give class ids, or a `sample_weight` of 0 where an "
            "example is not to count."
        )
    dtype = keras.backend.standardize_dtype(labels.dtype)
    if dtype in ("uint32", "uint64"):
        labels = ops.cast(labels, "int64")  # what is too large for it becomes negative
        if ignore_class < 0:
            return ops.zeros_like(labels, dtype="bool")
    elif "float" not in dtype and dtype != "int64":
        labels = ops.cast(labels, "int32")  # a type that is narrower may not hold `ignore_class`
    return ops.equal(labels, ignore_class)


def _becomes_whole(numbers: Any, rounded: Any, floor: Any) -> Any:
    return (rounded == floor(rounded)) & (numbers != floor(numbers))


def _to_tensor(name: str, value: Any, wanted: str, remedy: str) -> Any:
    kind = next((k for k in ("Sparse", "Ragged", "BCOO") if k in type(value).__name__), None)
    if kind or hasattr(value, "toarray") or getattr(value, "is_sparse", False):
        raise ValueError(
            f"`{name}` must be {wanted}, dense, got {type(value).__module__}."
            f"{type(value).__name__}: make it dense first, for instance with {name}.toarray(), "
            ".to_dense() or tf.sparse.to_dense, or a ragged one with .to_tensor() and a sample "
            "weight."
        )
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
    labels, predictions = known_shape("y_true", y_true), known_shape("y_pred", y_pred)
    classes = predictions[-1] if predictions else None
    if classes is None:
        raise ValueError(f"`y_pred` must be [..., C] with a known C, got shape {predictions}.")
    if classes == 0:
        raise ValueError(f"`y_pred` of shape {predictions} has no classes: its last axis is empty.")
    if num_classes is not None and classes != num_classes:
        remedy = "give one per output of the model."
        if classes == 1:  # one count for one output would weight nothing
            remedy = (
                "for a yes or no of one output use ClassBalancedBinaryCrossentropy, with the "
                "counts [n_negative, n_positive]."
            )
        remedy += classes_first_hint(predictions, num_classes)
        raise ValueError(
            f"`y_pred` has {classes} classes (shape {predictions}) but there are {num_classes} "
            f"class counts or weights: {remedy}"
        )
    sparse = _is_sparse(labels, predictions)
    if sparse is None:
        raise ValueError(
            f"`y_true` has shape {labels}, which fits no labels for `y_pred` of shape "
            f"{predictions}: expected class ids {predictions[:-1]} or {(*predictions[:-1], 1)}, or "
            f"one-hot labels {predictions}." + _classes_first_hint_by_labels(labels, predictions)
        )
    if sparse and classes == 1:
        raise ValueError(
            f"`y_true` of shape {labels} holds class ids, but `y_pred` of shape {predictions} has "
            "one output only: for 0/1 labels of a single output give them the shape of `y_pred`, "
            "or use ClassBalancedBinaryCrossentropy."
        )
    dtype = keras.backend.standardize_dtype(y_true.dtype)
    if sparse and dtype in _TOO_NARROW:
        raise ValueError(
            f"`y_true` holds class ids as {dtype}, which cannot tell all classes apart (bfloat16 "
            "rounds 257 to 256): cast them to int32 before anything else casts them."
        )
    return sparse


def classes_first_hint(predictions: Shape, num_classes: int) -> str:
    """What helps where another axis than the last has the size of the classes, or "".

    Args:
        predictions: Shape of the predictions.
        num_classes: C.
    """
    if len(predictions) < 3:  # the first axis is that of the examples
        return ""
    axes = (*range(1, len(predictions) - 1), 0)
    axis = next((a for a in axes if predictions[a] == num_classes), None)
    return "" if axis is None else _moved(axis, num_classes)


def _classes_first_hint_by_labels(labels: Shape, predictions: Shape) -> str:
    """The same where class ids would fit without that axis."""
    for axis in range(1, len(predictions) - 1):
        if sizes_fit(labels, (*predictions[:axis], *predictions[axis + 1 :])):
            return _moved(axis, predictions[axis])
    return ""


def _moved(axis: int, size: int | None) -> str:
    return (
        f" Axis {axis} has {size} entries: if it is that of the classes or labels, as in PyTorch's "
        f"own losses, make it the last one, keras.ops.moveaxis(y_pred, {axis}, -1) or "
        f"y_pred.movedim({axis}, -1)."
    )


def known_shape(name: str, tensor: Any) -> Shape:
    """Shape of a tensor whose number of dimensions is known, or raises ValueError."""
    if getattr(tensor.shape, "rank", 0) is None:
        raise ValueError(
            f"`{name}` has an unknown number of dimensions, as tf.numpy_function and "
            "tf.py_function leave it: say it where the data are made, for instance with "
            "`labels.set_shape([])` in the dataset's map. Keras leaves it, too, where two calls of "
            "fit or evaluate have numbers of dimensions that differ: then compile the model again "
            "between them."
        )
    return tuple(tensor.shape)


def with_checked_sizes(labels: Any, logits: Any, sparse: bool) -> Any:
    """Labels that have the sizes of the logits, also where those are known at run time only.

    One label would be broadcast over all rows otherwise, and labels [N, W, H] be taken for those of
    other pixels. Only TensorFlow has unknown sizes; XLA leaves the assertion out, but not what
    follows it, which needs as many elements, or of several unknown sizes each to be equal.
    """
    sizes = tuple(labels.shape), tuple(logits.shape[:-1] if sparse else logits.shape)
    if None not in (*sizes[0], *sizes[1]) or isinstance(logits, keras.KerasTensor):
        return labels
    import tensorflow as tf

    actual, wanted = tf.shape(labels), tf.shape(logits)
    wanted = wanted[:-1] if sparse else wanted
    message = "`y_true` does not have the shape of `y_pred`" + " without its last axis" * sparse
    equal = tf.reduce_all(tf.equal(actual, wanted))
    assertion = tf.raw_ops.Assert(condition=equal, data=[f"{message}:", actual, wanted])
    with tf.control_dependencies([assertion] if assertion is not None else []):
        if sum(None in pair for pair in zip(*sizes, strict=True)) > 1:  # reshaping swaps axes
            nothing = tf.zeros(wanted, labels.dtype)
            labels = tf.raw_ops.Select(condition=tf.constant(True), x=labels, y=nothing)
        return tf.reshape(labels, wanted)


def canonical_labels(y_true: Any, y_pred: Any, num_classes: int | None = None) -> tuple[Any, bool]:
    """Labels in one of two forms: class ids `[...]`, or dense labels `[..., C]`.

    What has one of them already costs a comparison of shapes; anything else is checked in full.

    Args:
        y_true: Labels, a tensor: class ids `[...]` or `[..., 1]`, or `[..., C]`.
        y_pred: Predictions `[..., C]`, a tensor.
        num_classes: Number of class weights, if there are any.

    Returns:
        The labels, and whether they are class ids.

    Raises:
        ValueError: As `check_labels`.
    """
    sparse = _canonical_form(y_true, y_pred, num_classes)
    if sparse is None:
        sparse = check_labels(y_true, y_pred, num_classes)
        if sparse and len(y_true.shape) == len(y_pred.shape):
            y_true = ops.squeeze(y_true, axis=-1)
    return y_true, sparse


def _canonical_form(y_true: Any, y_pred: Any, num_classes: int | None) -> bool | None:
    """Whether labels of a known form are class ids; None where only a full check can say."""
    is_ranked = None not in (getattr(x.shape, "rank", 0) for x in (y_true, y_pred))
    if not is_ranked or keras.backend.standardize_dtype(y_true.dtype) in _TOO_NARROW:
        return None
    labels, predictions = tuple(y_true.shape), tuple(y_pred.shape)
    classes = predictions[-1] if predictions else None
    if classes in (None, 0, 1) or num_classes not in (None, classes):
        return None
    sparse = _is_sparse(labels, predictions)
    return None if sparse and len(labels) == len(predictions) else sparse


def sizes_fit(sizes: Shape, wanted: Shape, *, one_fits: bool = False) -> bool:
    """Whether two shapes can be the same; an unknown size (None) can be any.

    Args:
        sizes: A shape.
        wanted: Another.
        one_fits: Whether a 1 in `sizes` fits any size, as it is broadcast to it.
    """
    return len(sizes) == len(wanted) and all(
        a == b or None in (a, b) or (one_fits and a == 1)
        for a, b in zip(sizes, wanted, strict=True)
    )


def _is_sparse(labels: Shape, predictions: Shape) -> bool | None:
    """True, False, or None where the shapes do not fit; unknown (None) sizes fit any size."""
    if sizes_fit(labels, predictions[:-1]):
        return True
    if len(labels) != len(predictions) or not sizes_fit(labels[:-1], predictions[:-1]):
        return None
    if labels[-1] is None:
        return None  # [..., 1] and [..., C] are both possible: never guess
    if labels[-1] == predictions[-1]:
        return False
    return True if labels[-1] == 1 else None
