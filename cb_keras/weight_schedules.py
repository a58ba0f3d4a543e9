"""Class weights by epoch, for `cb_keras.callbacks.ClassWeightScheduler`."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cb_keras.checks import check_choice, check_class_weights, check_number, check_whole_number
from cb_keras.counts import ByClass
from cb_keras.weights import Normalize, class_balanced_weights

Schedule = Callable[[int], NDArray[np.float32]]
Shape = Literal["linear", "cosine", "step"]


def deferred(weights: ByClass, start_epoch: int) -> Schedule:
    """Equal weights first, `weights` from an epoch on: deferred re-weighting (DRW).

    Args:
        weights: Class weights `[C]`, such as those of `class_balanced_weights`.
        start_epoch: First epoch, counted from 0, that has them; the paper's is 160 of 200.

    Returns:
        Function of the epoch that returns float32 `[C]`.

    Raises:
        ValueError: The weights are not finite and >= 0, or `start_epoch` is no whole number >= 0.

    Examples:
        >>> import cb_keras
        >>> schedule = cb_keras.weight_schedules.deferred([0.5, 1.5], start_epoch=160)
        >>> schedule(159).tolist(), schedule(160).tolist()
        ([1.0, 1.0], [0.5, 1.5])

    Source: Cao et al., NeurIPS 2019, algorithm 1.
    """
    later = check_class_weights("weights", weights)
    start = check_whole_number("start_epoch", start_epoch, 0)
    return lambda epoch: later if epoch >= start else np.ones_like(later)


def power_ramp(
    class_counts: ByClass,
    epochs: int,
    start: float = 0.0,
    end: float = 1.0,
    shape: Shape = "linear",
    beta: float = 0.9999,
    normalize: Normalize = "classes",
) -> Schedule:
    """Class-balanced weights whose power goes from `start` to `end` over the epochs.

    The power of epoch e is `start + (end - start) f(e / (epochs - 1))` with `f(x) = x` (linear),
    `(1 - cos(pi x)) / 2` (cosine), or 0 in the first half and 1 in the second (step).

    Args:
        class_counts: Training examples per class `[C]`, integers >= 1.
        epochs: Epochs of the training, >= 1; later ones have the last power.
        start: Power of the first epoch, any finite number.
        end: Power of the last epoch.
        shape: `"linear"`, `"cosine"` or `"step"`.
        beta: As in `class_balanced_weights`.
        normalize: As there.

    Returns:
        Function of the epoch that returns float32 `[C]`.

    Raises:
        ValueError: An argument is out of range.

    Examples:
        >>> import cb_keras
        >>> schedule = cb_keras.weight_schedules.power_ramp([3, 1], epochs=11, beta=1.0)
        >>> schedule(0).tolist(), schedule(10).tolist()
        ([1.0, 1.0], [0.5, 1.5])
    """
    last = check_whole_number("epochs", epochs, 1) - 1
    check_choice("shape", shape, ("linear", "cosine", "step"))
    start, end = check_number("start", start), check_number("end", end)
    for power in (start, end):  # whatever is wrong is said now, not in the last epoch
        class_balanced_weights(class_counts, beta, power, normalize)

    def schedule(epoch: int) -> NDArray[np.float32]:
        x = min(epoch / last, 1.0) if last else 1.0
        share = {"linear": x, "cosine": (1 - math.cos(math.pi * x)) / 2, "step": float(x >= 0.5)}
        power = start + (end - start) * share[shape]
        return class_balanced_weights(class_counts, beta, power, normalize)

    return schedule
