"""PyTorch's compiler follows every loss by keras.ops without a break of its graph."""

import inspect

import keras
import numpy as np
import pytest

from cb_keras import losses
from tests.cb_keras.cases import COUNTS, EVERY_LOSS, IDS, LOGITS, OF_COUNTS, TARGETS
from tests.cb_keras.gradients import BACKEND

if BACKEND != "torch":
    pytest.skip("a matter of PyTorch's compiler", allow_module_level=True)

import torch

from tests.cb_keras.torch_compiler import keras_itself_is_followed

if not keras_itself_is_followed():  # PyTorch 2.6, or Keras 3.10
    pytest.skip("the compiler breaks its graph at Keras' own operations", allow_module_level=True)


def by_formulas(make):
    """A loss without the fused op, where it has one."""
    has_op = "fused" in inspect.signature(make).parameters
    return make(fused=False) if has_op else make()


# Name of a case -> the loss by formulas, and its labels.
CASES = {
    **{name: (by_formulas(make), labels) for name, (make, labels) in EVERY_LOSS.items()},
    **{
        f"{loss.__name__} of dense labels": (loss(COUNTS, fused=False), TARGETS)
        for loss in OF_COUNTS
    },
    "float64": (losses.VectorScalingCrossentropy(COUNTS, fused=False, dtype="float64"), IDS),
}


@pytest.mark.parametrize("name", CASES)
def test_a_loss_by_formulas_is_one_graph_of_the_same_values(name):
    loss, labels = CASES[name][0], torch.tensor(CASES[name][1])
    logits = torch.tensor(LOGITS, dtype=getattr(torch, loss.dtype), requires_grad=True)
    torch._dynamo.reset()
    compiled = torch.compile(lambda y, z: loss(y, z), fullgraph=True, backend="aot_eager")
    for found, right in zip(*map(value_and_slope(labels, logits), (compiled, loss)), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-6, atol=1e-7)


def value_and_slope(labels, logits):
    """What gives the loss and its gradient of a function."""

    def of(function):
        value = function(labels, logits)
        (slope,) = torch.autograd.grad(value, logits)
        return keras.ops.convert_to_numpy(value), keras.ops.convert_to_numpy(slope)

    return of
