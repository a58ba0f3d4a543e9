"""Learning-rate schedule of the reference protocol."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from cb_keras.checks import check_number, check_positive


@keras.saving.register_keras_serializable(package="cb_keras")
class WarmupPiecewiseConstant(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from 0, then a constant rate that drops at each boundary.

    `rate(step) = peak * step / warmup_steps` before `warmup_steps`, then
    `peak * decay^k` with k the number of boundaries at or before `step`. Keras counts a step for
    every batch, also where the optimizer accumulates the gradients of several.

    Args:
        peak: Learning rate after the warm-up, > 0.
        warmup_steps: Optimizer steps of the warm-up, >= 0; 0 for none.
        boundaries: Steps at which the rate is multiplied by `decay`, ascending and not before
            the end of the warm-up.
        decay: Factor per boundary, > 0.

    Raises:
        ValueError: An argument is out of range.

    Source: the official code of Cui et al. 2019 (`learning_rate_schedule`).
    """

    def __init__(
        self,
        peak: float,
        warmup_steps: float = 0,
        boundaries: Sequence[float] = (),
        decay: float = 0.1,
    ) -> None:
        super().__init__()
        self.peak = check_positive("peak", peak)
        self.warmup_steps = check_number("warmup_steps", warmup_steps)
        if not hasattr(boundaries, "__iter__") or isinstance(boundaries, str):
            raise ValueError(f"`boundaries` must be a list of steps, got {boundaries!r}.")
        self.boundaries = [check_number("boundaries", b) for b in boundaries]
        self.decay = check_positive("decay", decay)
        if not 0 <= self.warmup_steps < float("inf"):
            raise ValueError(f"`warmup_steps` must be >= 0, got {warmup_steps}.")
        steps = [self.warmup_steps, *self.boundaries]
        if not all(a <= b for a, b in zip(steps, self.boundaries, strict=False)):  # NaN is not
            raise ValueError(
                f"`boundaries` must ascend from the end of the warm-up (step {warmup_steps}), "
                f"got {list(boundaries)}."
            )

    def __call__(self, step: Any) -> Any:
        """Learning rate at `step`, a float32 scalar."""
        step = ops.convert_to_tensor(step)
        rate = ops.full_like(step, self.peak, dtype="float32")
        for k, boundary in enumerate(self.boundaries, start=1):
            rate = ops.where(_is_before(step, boundary), rate, self.peak * self.decay**k)
        if self.warmup_steps == 0:
            return rate
        warm = self.peak * ops.cast(step, "float32") / self.warmup_steps
        return ops.where(_is_before(step, self.warmup_steps), warm, rate)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same schedule."""
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "boundaries": self.boundaries,
            "decay": self.decay,
        }


def _is_before(step: Any, boundary: float) -> Any:
    """Whether `step < boundary`; whole steps are not rounded, as float32 would beyond 2^24."""
    dtype = keras.backend.standardize_dtype(step.dtype)
    if "int" not in dtype:
        return step < boundary
    largest = np.iinfo(dtype).max  # a whole number is before b where it is before ceil(b)
    return step < min(math.ceil(boundary), largest) if math.isfinite(boundary) else step <= largest
