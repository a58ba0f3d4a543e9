"""What the arguments of the losses have in common: checks, defaults, what a configuration keeps."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

BETA, POWER = 0.9999, 1.0  # the defaults, at which they may stand next to `class_weights`


class WithClassWeights:
    """A loss whose class weights, a variable, can be assigned to.

    A subclass makes `_class_weights`, and says with `_checked_weights` which values it takes.
    """

    _class_weights: keras.Variable

    @property
    def class_weights(self) -> keras.Variable:
        """The weights, float32; a new value of their shape is checked and assigned to them."""
        return self._class_weights

    @class_weights.setter
    def class_weights(self, value: Any) -> None:
        if ops.is_tensor(value) or isinstance(value, keras.Variable):
            value = ops.convert_to_numpy(value)
        self._class_weights.assign(self._checked_weights(value))

    def _checked_weights(self, value: Any) -> NDArray[np.float32]:
        raise NotImplementedError


def is_reduced_by_torch(logits: Any) -> bool:
    """Whether losses without weights are reduced by PyTorch itself, not in Keras' way.

    That costs less, and Keras' mean is float32 of any numbers. Symbols of a model are Keras'.
    """
    return keras.backend.backend() == "torch" and not isinstance(logits, keras.KerasTensor)


def assigned_weights(variable: Any, initial: NDArray[np.float32]) -> dict[str, Any]:
    """What a configuration keeps where other weights were assigned than the first; else nothing."""
    current = ops.convert_to_numpy(variable.value)
    if np.array_equal(current, initial):
        return {}
    weights = {"class_counts": None, "class_weights": current.tolist()}
    return {**weights, "beta": BETA, "power": POWER}


def check_either(class_counts: Any, class_weights: Any) -> None:
    """Raises ValueError unless exactly one of the two is given."""
    if (class_counts is None) == (class_weights is None):
        raise ValueError(
            "give either `class_counts` (the weights are computed from them) or "
            f"`class_weights`, got {'neither' if class_counts is None else 'both'}."
        )


def check_no_effect(beta: float, power: float) -> None:
    """Raises ValueError where `beta` or `power` are given next to `class_weights`."""
    if (beta, power) != (BETA, POWER):
        raise ValueError(
            f"`beta`={beta} and `power`={power} have no effect on "
            "`class_weights`, which are used as they are: leave them at their defaults."
        )


def plain_dtype(dtype: Any) -> Any:
    """A dtype or policy as JSON can hold it; names and configurations stay as they are."""
    if isinstance(dtype, keras.DTypePolicy):
        return keras.dtype_policies.serialize(dtype)
    is_plain = dtype is None or isinstance(dtype, str | dict)
    return dtype if is_plain else keras.backend.standardize_dtype(dtype)


def at_least_float32(dtype: Any) -> str:
    """The dtype that a loss computes in."""
    if not isinstance(dtype, keras.DTypePolicy):
        dtype = plain_dtype(dtype)
    compute_dtype = keras.dtype_policies.get(dtype or keras.config.floatx()).compute_dtype
    return "float64" if compute_dtype == "float64" else "float32"
