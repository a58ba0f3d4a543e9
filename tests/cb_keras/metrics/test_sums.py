"""Counts beyond what float32 counts to, in one batch and over many."""

import keras
import numpy as np
import pytest
from keras import ops

from cb_keras import metrics
from cb_keras.metrics.sums import RunningSum, _binned
from tests.cb_keras.gradients import compiled


class Counter(keras.metrics.Metric):
    """Sums its arguments by class."""

    def __init__(self):
        super().__init__()
        self.sum = RunningSum(self, "sum", 2, "float32")

    def update_state(self, values, bins):
        self.sum.add(values, bins)

    def parts(self):
        return sum(ops.convert_to_numpy(v).astype("float64") for v in self.variables)


@pytest.mark.parametrize("is_compiled", [False, True])
def test_examples_beyond_two_to_the_24_are_each_counted(is_compiled):
    counter = Counter()
    add = compiled(counter.stateless_update_state) if is_compiled else None
    steps = [([2.0**24, 0.0], [0, 1]), *[([1.0, 2.0**25], [0, 1])] * 3, ([1.0, 1.0], [1, 1])]
    state = [ops.convert_to_tensor(v) for v in counter.variables]
    for values, bins in steps:
        values = ops.convert_to_tensor(values, "float32")
        bins = ops.convert_to_tensor(bins, "int32")
        if is_compiled:
            state = add(state, values, bins)
        else:
            counter.update_state(values, bins)
    for variable, new in zip(counter.variables, state if is_compiled else (), strict=False):
        variable.assign(new)
    assert counter.parts().tolist() == [2**24 + 3, 3 * 2**25 + 2]


def test_a_metric_counts_on_where_float32_would_stand_still():
    metric = metrics.BalancedAccuracy(2)
    metric.update_state([0, 1], [[1.0, 0.0], [0.0, 1.0]], [2.0**24, 1.0])
    for _ in range(4):
        metric.update_state([0], [[1.0, 0.0]])
    assert np.asarray(metric.total).tolist() == [2**24 + 4, 1]


def test_blocks_of_a_batch_add_up_to_the_sums_of_float64(rng):
    for size in (3, 300):
        values, bins = rng.uniform(0, 1, 20_001).astype("float32"), rng.integers(0, size, 20_001)
        high, low = _binned(
            ops.convert_to_tensor(values), ops.convert_to_tensor(bins, "int32"), size
        )
        expected = np.bincount(bins, values.astype("float64"), size)
        found = ops.convert_to_numpy(high).astype("float64") + ops.convert_to_numpy(low)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.slow
def test_a_batch_of_more_than_two_to_the_24_pixels_is_counted_exactly():
    number = 2**25 + 3
    high, low = _binned(ops.ones(number), ops.zeros(number, "int32"), 2)
    assert float(high[0]) + float(low[0]) == number


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="a setting of PyTorch")
def test_sums_have_the_dtype_of_the_values_whatever_the_default_is():
    import torch

    tenths = torch.full((1000,), 0.1, dtype=torch.float64)
    bins = torch.arange(1000, dtype=torch.int32) % 3 - 1  # -1 is none
    torch.set_default_dtype(torch.float64)
    try:
        high, low = _binned(tenths.float(), bins, 2)
        assert (high.dtype, low.dtype) == (torch.float32, torch.float32)
        recall = metrics.BalancedAccuracy(2)
        recall.update_state(torch.tensor([0, 1, 1]), torch.eye(2)[[0, 0, 1]])
        assert float(recall.result()) == 0.75
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_allclose(_binned(tenths, bins, 2)[0].numpy(), [33.3, 33.3], rtol=1e-14)
