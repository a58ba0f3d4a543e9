"""NaN where values are wrong, and nowhere else."""

from typing import Any

from keras import ops


def nan_where(invalid: Any, x: Any) -> Any:
    """x, NaN where `invalid`; no NaN is made elsewhere, for the tools that stop at the first."""
    # XLA may take a division 0 / 0 for 0, but no root of -1 for a number.
    return x + ops.sqrt(-ops.cast(invalid, x.dtype))
