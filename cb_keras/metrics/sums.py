"""Sums over all batches that stay exact where one float32 number would not."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

# A batch of more examples is summed in blocks: float32 counts one by one to 2^24 only, and a sum
# of many weights is rounded often.
_FEW = 2**12


class RunningSum:
    """A sum over batches in two variables: the float number and what its rounding left out.

    Together they hold whole numbers exactly to 2^48 in float32, which JAX has alone.
    """

    def __init__(self, metric: Any, name: str, size: int, dtype: str) -> None:
        self._high = metric.add_variable((size,), "zeros", dtype, name=name)
        self._low = metric.add_variable((size,), "zeros", dtype, name=f"{name}_rest")

    def add(self, values: Any, bins: Any) -> None:
        """Adds `values` `[M]` to the places `bins` `[M]` of the sum, int32 in `[0, size)`."""
        high, low = _binned(values, bins, self._high.shape[0])
        old = ops.convert_to_tensor(self._high)
        total, rest = _two_sum(old, high)
        self._high.assign(total)
        self._low.assign_add(rest + low)

    @property
    def value(self) -> Any:
        """The sum, rounded to the dtype, `[size]`."""
        return ops.convert_to_tensor(self._high) + ops.convert_to_tensor(self._low)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(ops.convert_to_numpy(self.value), dtype)


def counting_dtype(dtype: str) -> str:
    """What a metric of this dtype counts in: float16 would be exact to 2048 only."""
    return "float64" if keras.backend.standardize_dtype(dtype) == "float64" else "float32"


def _binned(values: Any, bins: Any, size: int) -> tuple[Any, Any]:
    """Sums of a batch by bin `[size]`, as two numbers each."""
    blocks = _blocks(values.shape[0], size)
    if blocks == 1:
        return _segment_sum(values, bins, size), ops.zeros((size,), values.dtype)
    block = ops.arange(ops.shape(values)[0], dtype="int32") % blocks
    sums = _segment_sum(values, block * size + bins, size * blocks)
    high = ops.reshape(sums, (blocks, size))
    low = ops.zeros_like(high)
    while blocks > 1:
        blocks //= 2
        high, rest = _two_sum(high[:blocks], high[blocks:])
        low = low[:blocks] + low[blocks:] + rest
    return high[0], low[0]


def _segment_sum(values: Any, bins: Any, size: int) -> Any:
    """Sums by bin `[size]`; what is in no bin is left out."""
    if keras.backend.backend() != "torch":
        return ops.segment_sum(values, bins, size)
    # Keras' own adds float64 as float32, and fails under torch.set_default_dtype(torch.float64).
    known = ops.where(ops.logical_and(bins >= 0, bins < size), bins, size)
    return values.new_zeros(size + 1).index_add(0, ops.cast(known, "int64"), values)[:-1]


def _blocks(length: int | None, size: int) -> int:
    """A power of two; more blocks leave less to the rounding of sums of many weights."""
    if isinstance(length, int) and length <= _FEW:  # JAX has an expression for an unknown one
        return 1
    return 256 if size <= 256 else 16


def _two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """`a + b` as it is rounded, and exactly what the rounding left out (Knuth)."""
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)
