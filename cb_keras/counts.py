"""Counts and weights by class: read by class where they have names, never by position."""

from collections.abc import Iterator, Mapping, Set, ValuesView
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

ByClass = ArrayLike | Mapping[Any, Any]


def by_class(name: str, values: Any) -> Any:
    """Values of the classes in class order; what is in an order of its own stays as it is.

    A dict, a Counter and a pandas Series (`labels.value_counts()` is ordered by size) are read by
    key or index, which must be the class ids 0 to C-1, each of them once.

    Args:
        name: The argument's name, for the messages.
        values: One number per class: a mapping, a Series, or anything with an order.

    Returns:
        A numpy array `[C]` of a mapping or a Series, and `values` itself otherwise.

    Raises:
        ValueError: A class is missing or masked, a key is not a class id, or `values` has no
            order.
    """
    if np.ma.is_masked(values):
        raise ValueError(
            f"`{name}` has masked entries, {values}: give a number for every class, such as "
            f"{name}.filled(number)."
        )
    if isinstance(values, Mapping):
        return _in_class_order(name, list(values), list(values.values()))
    if isinstance(values, Set | ValuesView | Iterator):
        raise ValueError(
            f"`{name}` is a {type(values).__name__}, which is not in the order of the classes: "
            "give a list with one number per class, in the order of the class ids, or a dict of "
            "class id to number."
        )
    if hasattr(values, "to_numpy") and hasattr(values, "index") and np.ndim(values) == 1:
        return _in_class_order(name, list(values.index), values.to_numpy().tolist())
    return values


def matrix_by_class(name: str, matrix: Any) -> NDArray[Any]:
    """A matrix of two classes as a numpy array; a pandas DataFrame only in the classes' order.

    Raises:
        ValueError: Rows or columns of a DataFrame are not the class ids 0 to C-1 in this order.
    """
    for axis in ("index", "columns") if hasattr(matrix, "to_numpy") else ():
        ids = list(getattr(matrix, axis, ()))
        if ids != list(range(len(ids))):
            raise ValueError(
                f"`{name}` has the {axis} {shortened(ids)}: they must be the class ids 0 to C-1 "
                "in this order; use confusion.reindex(index=range(C), columns=range(C), "
                "fill_value=0)."
            )
    entries = np.asarray(matrix)
    if entries.dtype.kind not in "iufb" or not (np.isfinite(entries) & (entries >= 0)).all():
        raise ValueError(
            f"`{name}` must hold finite numbers >= 0, of (label, prediction) pairs, got {matrix!r}."
        )
    return entries


def check_class_counts(
    class_counts: Any, minimum: int = 1, kinds: str = "iuf", remedy: str = ""
) -> NDArray[np.float64]:
    """Returns counts of the classes as a float64 numpy array `[C]`, or raises ValueError.

    Args:
        class_counts: One whole number per class; a mapping or Series is read by class.
        minimum: The smallest count that is allowed, 0 or 1.
        kinds: Numpy's letters of the types that are allowed; without "f" floats are refused, even
            whole ones.
        remedy: What else helps against a count of 0, for the message.
    """
    counts = np.asarray(by_class("class_counts", class_counts))
    if counts.ndim != 1 or counts.size == 0:
        raise ValueError(
            "`class_counts` must be a list of one training count per class, "
            f"got shape {counts.shape}: {class_counts!r}."
        )
    if counts.dtype.kind not in kinds:
        raise ValueError(
            f"`class_counts` must be {'numbers' if 'f' in kinds else 'integers'}, got dtype "
            f"{counts.dtype}: {class_counts!r}; count the labels first, e.g. "
            "np.bincount(labels, minlength=num_classes)."
        )
    counts = counts.astype("float64")
    bad = np.flatnonzero(
        ~(np.isfinite(counts) & (counts >= minimum) & (counts == np.floor(counts)))
    )
    if bad.size:
        where = ", ".join(f"class {c} has {counts[c]:g}" for c in bad[:5])
        more = f" and {bad.size - 5} more" if bad.size > 5 else ""
        advice = (
            " A class without training examples has no effective number: drop it, or give it at "
            f"least one example{remedy}."
        )
        raise ValueError(
            f"`class_counts` must be whole numbers >= {minimum}, but {where}{more}."
            + (advice if minimum > 0 else "")
        )
    return counts


def check_class_weights(name: str, values: Any, where: str = "") -> NDArray[np.float32]:
    """Returns weights of the classes as a float32 numpy array `[C]`, or raises ValueError.

    Args:
        name: The argument's name, for the messages.
        values: One number per class.
        where: What else the messages say of the place, such as " for epoch 3".
    """
    values = by_class(name, values)
    weights = np.asarray(keras.ops.convert_to_numpy(values))
    if weights.ndim != 1 or weights.size == 0 or weights.dtype.kind not in "iuf":
        raise ValueError(
            f"`{name}` must be numbers of shape [C], one per class, got {weights.dtype} "
            f"{weights.shape}{where}."
        )
    with np.errstate(over="ignore"):  # what float32 can't hold becomes infinite, and is refused
        weights = weights.astype("float32")
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if bad.size:
        raise ValueError(
            f"`{name}` must be finite and >= 0, but class {bad[0]} has {weights[bad[0]]}{where}."
        )
    return weights


def weights_tensor(name: str, values: Any) -> Any:
    """Weights of the classes as a tensor; what has values already is checked, tensors are not.

    Raises:
        ValueError: As `check_class_weights`.
    """
    is_tensor = keras.ops.is_tensor(values) or isinstance(values, keras.Variable)
    of_tensors = isinstance(values, list | tuple) and any(map(keras.ops.is_tensor, values))
    if not is_tensor and not of_tensors:
        check_class_weights(name, values)
    return keras.ops.convert_to_tensor(by_class(name, values))


def _in_class_order(name: str, keys: list[Any], values: list[Any]) -> NDArray[Any]:
    number_of = dict(zip(keys, values, strict=True)) if all(map(_is_class_id, keys)) else None
    if number_of is None:
        strange = next(key for key in keys if not _is_class_id(key))
        order = f"[{name}[key] for key in class_names]"
        if isinstance(strange, bool | np.bool_):
            strange, order = bool(strange), f"[{name}[False], {name}[True]]"
        raise ValueError(
            f"`{name}` is read by class, and {strange!r} is not a class id (0 to C-1): "
            f"give the numbers in the order of the class ids, for instance {order}."
        )
    if len(number_of) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"`{name}` has class {twice} more than once: give one number per class.")
    missing = next((c for c in range(len(keys)) if c not in number_of), None)
    if missing is not None:
        raise ValueError(
            f"`{name}` has no entry for class {missing}, but one for class {max(keys)}: class ids "
            "go from 0 to C-1, and each needs a number. Add the missing class; or number the "
            "classes without gaps, in the counts as in all labels: [ids.index(label) for label in "
            f"labels] with `ids` {shortened(sorted(map(int, keys)))}."
        )
    return np.asarray([number_of[c] for c in range(len(keys))])


def _is_class_id(key: Any) -> bool:
    if isinstance(key, bool | np.bool_) or not isinstance(key, int | float | np.number):
        return False
    return bool(0 <= key < 2**63 and key == int(key))


def shortened(ids: list[Any]) -> str:
    """A list as text, of which the first five entries are written out."""
    return repr(ids if len(ids) <= 5 else [*ids[:5], ...]).replace("Ellipsis", "...")
