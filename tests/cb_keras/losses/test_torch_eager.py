"""The short way of plain tensors on PyTorch gives what the long one does, and is taken."""

import numpy as np
import pytest

from cb_keras import checks
from cb_keras.losses import base
from tests.cb_keras.cases import CLASSES, COUNTS, IDS, LOGITS, kinds
from tests.cb_keras.gradients import BACKEND
from tests.fused_library import ensure_library

pytestmark = pytest.mark.skipif(BACKEND != "torch", reason="PyTorch's own way")


def tensors():
    import torch

    logits = torch.tensor(LOGITS, dtype=torch.float32, requires_grad=True)
    return torch.tensor(IDS, dtype=torch.int64), logits


def called(loss, labels, logits, **more):
    import torch

    value = loss(labels, logits, **more)
    return value.detach().numpy(), torch.autograd.grad(value.sum(), logits)[0].numpy()


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", None])
@kinds
def test_plain_tensors_give_the_loss_and_gradient_of_any_others(kind, reduction, monkeypatch):
    ensure_library()
    labels, logits = tensors()
    loss = CLASSES[kind](COUNTS, fused=True, reduction=reduction)
    expected = called(loss, labels[:, None], logits)  # an axis more: the long way
    monkeypatch.setattr(base, "to_tensors", lambda *_: pytest.fail("the long way"))
    for found, right in zip(called(loss, labels, logits), expected, strict=True):
        np.testing.assert_array_equal(found, right)


def test_a_label_that_is_no_class_is_named_on_the_short_way_too():
    ensure_library()
    labels, logits = tensors()
    loss = CLASSES["softmax"](COUNTS, fused=True)
    loss(labels, logits)
    with pytest.raises(ValueError, match="-3"):
        loss(labels * 0 - 3, logits)


def test_predictions_with_a_mask_or_softmax_behind_them_are_looked_into(monkeypatch):
    ensure_library()
    labels, logits = tensors()
    loss = CLASSES["softmax"](COUNTS, fused=True)
    loss(labels, logits)
    seen = []
    monkeypatch.setattr(base, "to_tensors", lambda *a: seen.append(1) or checks.to_tensors(*a))
    import torch

    masked = logits * 1
    masked._keras_mask = torch.tensor([True] * (len(IDS) - 1) + [False])
    rest = loss(labels[:-1], logits[:-1])
    np.testing.assert_allclose(loss(labels, masked).item(), rest.item(), rtol=1e-6)
    assert len(seen) == 1
