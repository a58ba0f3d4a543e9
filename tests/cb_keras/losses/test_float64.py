"""Losses of dtype float64 are computed in float64 to the end, on PyTorch too."""

import numpy as np
import pytest
from keras import ops

from cb_keras import losses
from tests.cb_keras.cases import COUNTS, EVERY_LOSS, IDS, LOGITS
from tests.cb_keras.gradients import BACKEND

if BACKEND == "jax":
    pytest.skip("JAX has float64 by a setting only", allow_module_level=True)

CASES = [
    *((make(dtype="float64"), labels) for make, labels in EVERY_LOSS.values()),
    (losses.ClassBalancedSoftmaxCrossentropy(COUNTS, dtype="float64", label_smoothing=0.1), IDS),
]


@pytest.mark.parametrize(("loss", "labels"), CASES, ids=lambda case: type(case).__name__)
def test_the_reduced_loss_is_the_mean_in_float64_and_its_gradient_that_of_differences(loss, labels):
    labels, logits = ops.convert_to_tensor(labels), ops.convert_to_tensor(LOGITS, "float64")
    each = type(loss).from_config({**loss.get_config(), "reduction": "none"})
    found = ops.convert_to_numpy(loss(labels, logits))
    assert found.dtype == np.float64
    mean = ops.convert_to_numpy(each(labels, logits)).mean()
    np.testing.assert_allclose(found, mean, rtol=1e-15)
    if BACKEND == "torch":
        import torch

        variable = logits.detach().requires_grad_()
        assert torch.autograd.gradcheck(lambda z: loss(labels, z), variable)


def test_label_smoothing_is_that_of_float64_numpy():
    log_p = LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True))
    loss = losses.LogitAdjustedCrossentropy(
        COUNTS, tau=0.0, label_smoothing=0.25, dtype="float64", reduction="none"
    )
    found = ops.convert_to_numpy(
        loss(ops.convert_to_tensor(IDS), ops.convert_to_tensor(LOGITS, "float64"))
    )
    own = log_p[np.arange(len(IDS)), IDS]
    np.testing.assert_allclose(found, -(0.75 * own + 0.25 * log_p.mean(-1)), rtol=1e-14)


@pytest.mark.parametrize(
    ("loss", "known", "void"),
    [
        (losses.ClassBalancedSoftmaxCrossentropy(COUNTS, dtype="float64"), IDS, 255),
        (
            losses.AsymmetricCrossentropy(dtype="float64"),
            np.eye(len(COUNTS))[IDS],
            np.full(len(COUNTS), -1.0),
        ),
    ],
    ids=lambda case: type(case).__name__,
)
def test_examples_that_are_not_known_leave_the_float64_mean(loss, known, void):
    labels = np.array(known)
    labels[1] = void
    kept = np.arange(len(IDS)) != 1
    mine = type(loss).from_config({**loss.get_config(), "ignore_class": int(np.min(void))})
    logits = ops.convert_to_tensor(LOGITS, "float64")
    found = ops.convert_to_numpy(mine(ops.convert_to_tensor(labels), logits))
    right = loss(ops.convert_to_tensor(known[kept]), ops.convert_to_tensor(LOGITS[kept], "float64"))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, ops.convert_to_numpy(right), rtol=1e-7)
