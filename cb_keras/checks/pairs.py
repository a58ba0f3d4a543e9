"""Counts and weights of labels that are each a yes or no: pairs of negative and positive."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cb_keras.counts import by_class

_SIDES = ("negative", "positive")


def check_pairs_of_counts(class_counts: Any) -> NDArray[np.float64]:
    """Returns counts `[n_negative, n_positive]`, or `[L, 2]` of L labels, as float64.

    Raises:
        ValueError: They have another shape, or are not whole numbers >= 1.
    """
    counts = _pairs("class_counts", class_counts, "[n_negative, n_positive]").astype("float64")
    bad = np.argwhere(~(np.isfinite(counts) & (counts >= 1) & (counts == np.floor(counts))))
    if bad.size:
        place = tuple(bad[0])
        raise ValueError(
            f"`class_counts` must be whole numbers >= 1, but {_label(place)}has {counts[place]:g} "
            f"{_SIDES[place[-1]]} examples. A side without training examples has no effective "
            "number: drop the label, or give `class_weights`."
        )
    return counts


def check_pairs_of_weights(name: str, values: Any, where: str = "") -> NDArray[np.float32]:
    """Returns weights `[w_negative, w_positive]`, or `[L, 2]` of L labels, as float32.

    Args:
        name: The argument's name, for the messages.
        values: The weights.
        where: What else the messages say of the place, such as " in epoch 3".

    Raises:
        ValueError: They have another shape, or are not finite and >= 0.
    """
    with np.errstate(over="ignore"):  # what float32 can't hold becomes infinite, and is refused
        weights = _pairs(name, values, "[w_negative, w_positive]", where).astype("float32")
    bad = np.argwhere(~(np.isfinite(weights) & (weights >= 0)))
    if bad.size:
        place = tuple(bad[0])
        raise ValueError(
            f"`{name}` must be finite and >= 0, but {_label(place)}has {weights[place]} for "
            f"{_SIDES[place[-1]]} examples{where}."
        )
    return weights


def _pairs(name: str, values: Any, pair: str, where: str = "") -> NDArray[Any]:
    if hasattr(values, "columns") and list(values.columns) != [0, 1]:
        raise ValueError(
            f"`{name}` has the columns {list(values.columns)}: they must be 0 (negative) and 1 "
            f"(positive), one row per output of the model; or give an array [L, 2]."
        )
    array = np.asarray(keras.ops.convert_to_numpy(by_class(name, _by_side(values))))
    fits = array.ndim in (1, 2) and array.shape[-1] == 2 and array.size
    if not fits or array.dtype.kind not in "iuf":
        raise ValueError(
            f"`{name}` must be {pair} for one output, or one such pair per label, [L, 2], got "
            f"{array.dtype} {array.shape}{where}."
        )
    return array


def _by_side(values: Any) -> Any:
    """A mapping or Series of False and True as one of 0 and 1; anything else as it is."""
    if isinstance(values, Mapping):
        keys = list(values)
    else:  # a list has an `index` as well
        keys = list(values.index) if hasattr(values, "to_numpy") and np.ndim(values) == 1 else []
    if keys and len(set(keys)) == len(keys) and all(isinstance(k, bool | np.bool_) for k in keys):
        return {int(key): number for key, number in values.items()}
    return values


def _label(place: tuple[int, ...]) -> str:
    return f"label {place[0]} " if len(place) == 2 else "the output "
