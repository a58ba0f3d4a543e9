"""Checks of the losses' arguments, by value, shape and dtype; each raises ValueError."""

import contextlib
import math
import warnings
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

Shape = tuple[int | None, ...]
_LARGEST_FLOAT32 = 3.4028234663852886e38


def check_number(name: str, value: Any, wanted: str = "a number") -> float:
    """Returns `value` as a float, or raises ValueError where it is a text, a boolean or an array.

    Tensors and numpy scalars without dimensions are. NaN and infinity are for the caller to judge.
    """
    is_bool = isinstance(value, bool | np.bool_) or "bool" in str(getattr(value, "dtype", ""))
    has_dimensions = tuple(getattr(value, "shape", ())) != ()
    if hasattr(value, "__float__") and not isinstance(value, str | bytes):
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            if not is_bool and not has_dimensions:
                return float(value)
    given = f"{value!r}" + (" (text): leave out the quotes" if isinstance(value, str) else "")
    raise ValueError(f"`{name}` must be {wanted}, got {given}.")


def check_flag(name: str, value: Any) -> bool:
    """Returns `value` as a bool, or raises ValueError: the text "False" would count as true."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"`{name}` must be True or False, got {value!r}.")
    return bool(value)


def check_gamma(gamma: Any) -> float:
    """Returns `gamma` as a finite float >= 0, or raises ValueError."""
    wanted = "a finite number >= 0"
    value = check_number("gamma", gamma, wanted)
    if not 0.0 <= value <= _LARGEST_FLOAT32:  # the losses compute in float32
        raise ValueError(f"`gamma` must be {wanted}, got {gamma!r}; 0 is the sigmoid loss.")
    return value


def check_beta(beta: Any) -> float:
    """Returns `beta` as a float in [0, 1], or raises ValueError."""
    value = check_number("beta", beta)
    if not 0.0 <= value <= 1.0:
        raise ValueError(
            f"`beta` must be in [0, 1], got {value}; usual values are 0.9, 0.99, 0.999, 0.9999, "
            "and 1 for inverse frequency."
        )
    return value


def check_power(power: Any) -> float:
    """Returns `power` as a finite float, or raises ValueError."""
    value = check_number("power", power)
    if not math.isfinite(value):
        raise ValueError(
            f"`power` must be finite, got {value}; 0 is the plain loss, 1 the class-balanced one."
        )
    return value


def to_tensors(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Any, Any]:
    """Labels and predictions as tensors, or raises ValueError where they are no real numbers.

    A label that is no class stays none, also where the backend has narrower types.
    """
    remedy = "number the classes first: np.unique(labels, return_inverse=True)[1]."
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
        return np.clip(labels, -1, 2**31 - 1)
    if labels.dtype == np.float64 and labels.shape != shape_of_predictions:
        rounded = labels.astype("float32")
        return np.where(_becomes_whole(labels, rounded, np.floor), np.float32("nan"), rounded)
    return labels


def narrow_class_ids(class_ids: Any, dtype: str) -> Any:
    """Class ids as floats of `dtype`; one that is not whole does not become whole, but NaN."""
    narrow = ops.cast(class_ids, dtype)
    if keras.backend.standardize_dtype(class_ids.dtype) != "float64" or dtype == "float64":
        return narrow
    return ops.where(_becomes_whole(class_ids, narrow, ops.floor), float("nan"), narrow)


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
    labels, predictions = _known_shape("y_true", y_true), _known_shape("y_pred", y_pred)
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


def _known_shape(name: str, tensor: Any) -> Shape:
    if getattr(tensor.shape, "rank", 0) is None:
        raise ValueError(
            f"`{name}` has an unknown number of dimensions, as tf.numpy_function and "
            "tf.py_function leave it: say it where the data are made, for instance with "
            "`labels.set_shape([])` in the dataset's map."
        )
    return tuple(tensor.shape)


def with_checked_sizes(labels: Any, logits: Any, sparse: bool) -> Any:
    """Labels that have the sizes of the logits, also where those are known at run time only.

    One label would be broadcast over all rows otherwise. Only TensorFlow has unknown sizes; XLA
    leaves the assertion out, but not the reshaping.
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
        return tf.reshape(labels, wanted)


def warn_of_activation(y_pred: Any, look_at_values: bool) -> bool:
    """Warns where predictions that are taken for logits are known to be probabilities.

    Known are the outputs of a softmax or sigmoid, by Keras' mark or by TensorFlow's op, and, where
    `look_at_values`, rows of eager values that are positive and sum to 1.

    Returns:
        Whether there was something to see: a mark, an op or values.
    """
    found, values = _activation_of(y_pred), None
    if found is None and look_at_values:
        values = _eager_values(y_pred)
        if values is not None and _are_distributions(values):
            found = "rows of positive numbers that sum to 1"
    if found:
        warnings.warn(
            f"`y_pred` is taken for logits (`from_logits=True`), but it is {found}: leave the "
            "activation out of the model's last layer, or give the loss from_logits=False.",
            stacklevel=3,
        )
    return found is not None or values is not None


def _activation_of(y_pred: Any) -> str | None:
    if getattr(y_pred, "_keras_logits", None) is not None:
        return "the output of a softmax or sigmoid activation"
    if keras.backend.backend() != "tensorflow":
        return None
    with contextlib.suppress(AttributeError):  # eager tensors and arrays come from no op
        op = y_pred.op
        while op.type in ("Cast", "Identity", "Reshape") and op.inputs:
            op = op.inputs[0].op
        return f"the output of {op.type}" if op.type in ("Softmax", "Sigmoid") else None
    return None


def _eager_values(y_pred: Any) -> Any:
    """Float64 numpy array of the values, or None where a function is traced or compiled."""
    if keras.backend.backend() == "torch":
        import torch

        if torch.compiler.is_compiling():
            return None
    try:
        return np.asarray(ops.convert_to_numpy(y_pred), "float64")
    except Exception:  # a tensor of a graph has no values, which every backend says in its own way
        return None


def _are_distributions(values: Any) -> bool:
    if values.ndim < 2 or values.shape[-1] < 2 or values.size == 0 or not (values >= 0).all():
        return False
    return bool(np.allclose(values.sum(-1), 1, rtol=0, atol=0.01))


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
