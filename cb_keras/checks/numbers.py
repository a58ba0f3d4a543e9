"""Checks of single numbers and flags, each the one place of its range; each raises ValueError."""

import contextlib
import math
from typing import Any

import numpy as np

_LARGEST_FLOAT32 = 3.4028234663852886e38
_EXACT_FLOAT32 = 2**24  # Keras hands class ids to losses as float32, exact below here


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


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Returns `value` where it is one of `choices`, or raises ValueError."""
    if not isinstance(value, str) or value not in choices:
        listed = " or ".join(f'"{choice}"' for choice in choices)
        raise ValueError(f"`{name}` must be {listed}, got {value!r}.")
    return value


def check_gamma(gamma: Any, name: str = "gamma") -> float:
    """Returns `gamma` as a finite float >= 0, or raises ValueError."""
    wanted = "a finite number >= 0"
    value = check_number(name, gamma, wanted)
    if not 0.0 <= value <= _LARGEST_FLOAT32:  # the losses compute in float32
        raise ValueError(f"`{name}` must be {wanted}, got {gamma!r}; 0 is no focusing.")
    return value


def check_label_smoothing(label_smoothing: Any) -> float:
    """Returns `label_smoothing` as a float in [0, 1], or raises ValueError."""
    value = check_number("label_smoothing", label_smoothing, "a number in [0, 1]")
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"`label_smoothing` must be in [0, 1], got {value}; usual is 0.1.")
    return value


def check_share(name: str, value: Any) -> float:
    """Returns `value` as a float in [0, 1], or raises ValueError."""
    share = check_number(name, value, "a number in [0, 1]")
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"`{name}` must be in [0, 1], got {share}.")
    return share


def check_ignore_class(ignore_class: Any) -> int | None:
    """Returns `ignore_class` as an int, None where it is None, or raises ValueError."""
    if ignore_class is None:
        return None
    number = check_number("ignore_class", ignore_class, "a whole number or None")
    if number % 1 or not -_EXACT_FLOAT32 < number < _EXACT_FLOAT32:
        raise ValueError(
            "`ignore_class` must be a whole number between -16777215 and 16777215 or None, got "
            f"{ignore_class!r}; usual values are 255 and -1."
        )
    return int(number)


def check_ignored_label(ignore_class: Any) -> int | None:
    """Returns `ignore_class` of labels that are each a yes or no, or raises ValueError."""
    number = check_ignore_class(ignore_class)
    if number in (0, 1):
        raise ValueError(
            f"`ignore_class` must not be {number}, which is a label; a usual value for labels that "
            "are not known is -1."
        )
    return number


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


def check_tau(tau: Any) -> float:
    """Returns `tau` as a finite float >= 0, or raises ValueError."""
    value = check_number("tau", tau)
    if not 0.0 <= value <= _LARGEST_FLOAT32:
        raise ValueError(
            f"`tau` must be a finite number >= 0, got {tau!r}; 0 leaves the logits as they are, 1 "
            "adjusts them by the class frequencies."
        )
    return value


def check_margin(margin: Any) -> float:
    """Returns `margin` as a float in [0, 1), or raises ValueError."""
    value = check_number("margin", margin)
    if not 0.0 <= value < 1.0:
        raise ValueError(
            f"`margin` must be in [0, 1), got {margin!r}; usual is 0.05, and 0 is no margin."
        )
    return value


def check_whole_number(
    name: str, value: Any, minimum: int, below: float = math.inf, remedy: str = ""
) -> int:
    """Returns `value` as an int in `[minimum, below)`, or raises ValueError.

    Args:
        name: The argument's name, for the message.
        value: A number; a whole float is one.
        minimum: The smallest that is allowed.
        below: The first that is not.
        remedy: What the message ends with, such as "; count them first".
    """
    if not minimum <= check_number(name, value) < below or value % 1:
        raise ValueError(f"`{name}` must be a whole number >= {minimum}, got {value!r}{remedy}.")
    return int(value)


def check_positive(name: str, value: Any) -> float:
    """Returns `value` as a finite float > 0, or raises ValueError."""
    number = check_number(name, value)
    if not 0 < number < math.inf:
        raise ValueError(f"`{name}` must be a finite number > 0, got {value}.")
    return number


def check_depth(depth: Any) -> int:
    """Returns the depth of a ResNet for small images as an int `6n + 2`, or raises ValueError."""
    if not check_number("depth", depth) >= 8 or (depth - 2) % 6:
        raise ValueError(f"`depth` must be 6n + 2 (8, 14, 20, 26, 32, ...), got {depth}.")
    return int(depth)


def check_momentum(momentum: Any) -> float:
    """Returns `momentum` as a float in [0, 1), or raises ValueError."""
    value = check_number("momentum", momentum)
    if not 0.0 <= value < 1.0:
        raise ValueError(f"`momentum` must be in [0, 1), got {momentum}; usual is 0.9.")
    return value


def check_weight_decay(weight_decay: Any) -> float:
    """Returns `weight_decay` as a finite float >= 0, or raises ValueError."""
    value = check_number("weight_decay", weight_decay)
    if not 0 <= value < math.inf:
        raise ValueError(f"`weight_decay` must be a finite number >= 0, got {weight_decay}.")
    return value


def check_imbalance_factor(imbalance_factor: Any) -> float:
    """Returns `imbalance_factor` as a float in (0, 1], or raises ValueError with the remedy."""
    factor = check_number("imbalance_factor", imbalance_factor)
    if 0.0 < factor <= 1.0:
        return factor
    remedy = "it is the smallest class size divided by the largest."
    if 1.0 < factor < float("inf"):
        remedy = f"for a {factor:g}:1 tail use 1/{factor:g} = {1 / factor:.4g}."
    raise ValueError(f"`imbalance_factor` must be in (0, 1], got {factor}; {remedy}")
