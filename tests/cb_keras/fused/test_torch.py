"""The fused op on PyTorch: values and gradients in float64 by `reference.py`, and what goes around.

Derivatives of every kind are compared with those of the formulas, which are checked elsewhere.
"""

import sys

import keras
import numpy as np
import pytest

from cb_keras import fused
from cb_keras.fused import core
from tests.cb_keras import reference
from tests.cb_keras.cases import CLASSES, LOSSES, linear_model
from tests.cb_keras.cases import fit as fit_model
from tests.cb_keras.gradients import BACKEND

if BACKEND != "torch":
    pytest.skip("of the op on PyTorch", allow_module_level=True)

import torch

pytestmark = pytest.mark.usefixtures("fused_op")

ROWS, NUMBER = 37, 12
# Half a unit in the last place, and the smallest number's half.
ROUNDING = {
    "float32": (2e-5, 1e-6),
    "bfloat16": (2**-8 + 2e-5, 1e-6),
    "float16": (2**-11 + 2e-5, 1e-6),
}


def problem(kind, form, seed=0):
    """Labels for the op, logits, class weights, dense targets and the weights of the examples."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (ROWS, NUMBER)).astype("float16").astype("float32")
    logits = torch.tensor(logits).bfloat16().half().float()  # what all three types can hold
    weights = torch.tensor(rng.uniform(0.1, 3, NUMBER), dtype=torch.float32)
    if form == "multi-hot":
        labels = torch.tensor(rng.integers(0, 2, (ROWS, NUMBER)), dtype=torch.float32)
        labels[:, 0] = 1
        return labels, logits, weights
    return torch.tensor(rng.integers(0, NUMBER, ROWS)).to(getattr(torch, form)), logits, weights


def right(kind, labels, logits, weights, gamma):
    """Losses and gradient in float64."""
    z, w = logits.detach().double().numpy(), weights.double().numpy()
    if labels.dim() == 1:
        labels = reference.one_hot(labels.numpy(), NUMBER)
    labels, gamma = np.asarray(labels, "float64"), {"gamma": gamma} if "focal" in kind else {}
    functions = reference.loss, reference.gradient
    return tuple(reference.mixed(f, kind, z, labels, w, **gamma) for f in functions)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("form", ["int32", "int64", "uint8", "float64", "multi-hot"])
@pytest.mark.parametrize("kind", LOSSES)
def test_losses_and_gradients_are_those_of_the_equations(kind, form, dtype):
    labels, logits, weights = problem(kind, form)
    z = logits.to(getattr(torch, dtype)).requires_grad_()
    losses = fused.crossentropy(kind, labels, z, weights, 1.5)
    losses.sum().backward()
    expected, slope = right(kind, labels, logits, weights, 1.5)
    assert losses.dtype == torch.float32
    assert z.grad.dtype == z.dtype
    np.testing.assert_allclose(losses.detach(), expected, rtol=2e-5)
    rtol, atol = ROUNDING[dtype]
    np.testing.assert_allclose(z.grad.double(), slope, rtol=rtol, atol=atol * np.abs(slope).max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scaling", ["expected", "another", "of each row", "of views"])
def test_any_upstream_gradient_gives_its_own_slope_rounded_once(scaling, dtype):
    labels, logits, weights = problem("focal", "int64")
    z = logits.to(dtype).requires_grad_()
    upstream = {
        "expected": torch.full((ROWS,), 0.25),
        "another": torch.tensor(3.0).expand(ROWS),
        "of each row": torch.linspace(0, 2, ROWS),
        "of views": torch.linspace(0, 2, 2 * ROWS)[::2],
    }[scaling]
    losses = fused.crossentropy("focal", labels, z, weights, 1.0, expected_upstream=0.25)
    # Twice: the second pass has no stored gradient, and may not change what the first gave.
    first, second = (
        torch.autograd.grad(losses, z, upstream * factor, retain_graph=True)[0] for factor in (1, 2)
    )
    slope = right("focal", labels, logits, weights, 1.0)[1] * upstream.double().numpy()[:, None]
    rtol = {torch.float32: 2e-5, torch.bfloat16: 2**-8, torch.float16: 2**-11}[dtype]
    small = 1e-6 * np.abs(slope).max()
    np.testing.assert_allclose(first.double(), slope, rtol=rtol + 1e-6, atol=small)
    np.testing.assert_allclose(second.double(), 2 * slope, rtol=rtol + 1e-6, atol=small)


def test_smoothing_and_an_ignored_class_are_those_of_the_formula():
    labels, logits, weights = problem("softmax", "int64")
    labels[::5] = 255
    logits[5] = torch.nan
    kwargs = {"label_smoothing": 0.1, "ignore_class": 255}
    found = []
    for function in (
        lambda z: fused.crossentropy("softmax", labels, z, weights, **kwargs),
        lambda z: LOSSES["softmax"](labels, z, weights, **kwargs),
    ):
        z = logits.clone().requires_grad_()
        losses = function(z)
        losses.sum().backward()
        found.append((losses.detach(), z.grad))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert not found[0][0][::5].any()
    assert not found[0][1][::5].any()


def test_any_layout_of_the_logits_will_do():
    labels, logits, weights = problem("sigmoid", "int64")
    expected = fused.crossentropy("sigmoid", labels, logits, weights)
    memory = bytearray(4 * logits.numel() + 1)
    misaligned = torch.frombuffer(memory, dtype=torch.uint8)[1:]
    misaligned[:] = logits.reshape(-1).view(torch.uint8)
    shifted = torch.empty(0)
    if misaligned.data_ptr() % 4:
        shifted = torch.frombuffer(memory, dtype=torch.float32, offset=1, count=logits.numel())
    layouts = [logits.T.contiguous().T, logits.repeat(1, 2)[:, :NUMBER], (logits * 1j).imag]
    layouts += [shifted.view(ROWS, NUMBER)] * (shifted.numel() > 0)
    layouts += [(-logits * 1j).conj().imag]  # a view that negates when it is read
    for z in layouts:
        z = z.detach().requires_grad_()
        losses = fused.crossentropy("sigmoid", labels, z, weights)
        torch.testing.assert_close(losses, expected, rtol=0, atol=0)
        losses.sum().backward()
    cube = fused.crossentropy(
        "sigmoid", labels[:36].view(3, 12), logits[:36].view(3, 12, -1), weights
    )
    torch.testing.assert_close(cube.view(-1), expected[:36], rtol=0, atol=0)


@pytest.mark.parametrize("kind", LOSSES)
def test_no_rows_have_no_losses_and_an_empty_gradient(kind):
    z = torch.zeros(0, 3, requires_grad=True)
    losses = fused.crossentropy(kind, torch.zeros(0, dtype=torch.int64), z, np.ones(3))
    losses.sum().backward()
    assert losses.shape == (0,)
    assert z.grad.shape == (0, 3)


def test_without_a_gradient_nothing_is_kept_for_one():
    labels, logits, weights = problem("softmax", "int64")
    z = logits.clone().requires_grad_()
    expected = fused.crossentropy("softmax", labels, z, weights).detach()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            losses = fused.crossentropy("softmax", labels, z, weights)
        assert losses.grad_fn is None
        np.testing.assert_array_equal(losses.numpy(), expected)
    assert fused.crossentropy("softmax", labels, logits, weights).grad_fn is None


@pytest.mark.parametrize("label", [12, -1, 0.5])
def test_an_id_that_is_no_class_is_named_by_the_loss_and_nan_in_the_op(label):
    labels, logits, weights = problem("softmax", "float64")
    labels[3] = label
    z = logits.clone().requires_grad_()
    losses = fused.prepared(fused.Form("softmax"), labels, z, weights, 0.0, 1.0, True)
    losses.sum().backward()
    assert torch.isnan(losses).nonzero().flatten().tolist() == [3]
    assert torch.isnan(z.grad).any(-1).nonzero().flatten().tolist() == [3]
    loss = CLASSES["softmax"](class_weights=weights.numpy(), fused=True)
    with pytest.raises(ValueError, match=r"`y_true` holds .* at position \[3\]"):
        loss(labels, logits)
    with pytest.raises(ValueError, match=r"`y_true` holds .* at position \[3\]"):
        fused.crossentropy("softmax", labels, logits, weights)


@pytest.mark.parametrize("label", [NUMBER, -1])
def test_an_id_that_is_no_class_is_named_in_every_batch(label):
    labels, logits, weights = problem("softmax", "int64")
    loss = CLASSES["softmax"](class_weights=weights.numpy(), fused=True)
    loss(labels, logits)  # the first call has looked at more than the others do
    labels[3] = label
    with pytest.raises(ValueError, match=rf"`y_true` holds {label} at position \[3\]"):
        loss(labels, logits.requires_grad_())


def test_a_call_in_eager_code_is_short():
    labels, logits, weights = problem("softmax", "int64")
    loss = CLASSES["softmax"](class_weights=weights.numpy(), fused=True)
    logits.requires_grad_()
    loss(labels, logits)  # looks at more than the others
    names = []
    sys.setprofile(lambda frame, event, _: names.append(frame.f_code) if event == "call" else None)
    try:
        loss(labels, logits)
    finally:
        sys.setprofile(None)
    assert 10 < len(names) < 90, names  # about 60; the ways around the shortest have 130 and 190


@pytest.mark.parametrize(
    "reduction", ["sum_over_batch_size", "sum", "none", "mean_with_sample_weight"]
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_a_reduction_on_pytorch_is_that_of_keras(reduction, dtype):
    labels, logits, weights = problem("softmax", "int64")
    loss = CLASSES["softmax"](class_weights=weights.numpy(), reduction=reduction, dtype=dtype)
    for rows in (ROWS, 1, 0):
        z = logits[:rows].to(getattr(torch, dtype)).requires_grad_()
        ours = loss(labels[:rows], z)
        theirs = keras.losses.Loss.__call__(loss, labels[:rows], z)
        if dtype == "float64" and theirs.dtype == torch.float32:  # whose means lose half their bits
            torch.testing.assert_close(ours, theirs.double(), rtol=1e-6, atol=0)
            theirs = loss.call(labels[:rows], z).mean()
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
        slopes = [torch.autograd.grad(value.sum(), z)[0] for value in (ours, theirs)]
        torch.testing.assert_close(*slopes, rtol=0, atol=0)


def test_a_fit_by_the_op_is_that_by_keras_ops():
    losses = [
        fit_model(linear_model(CLASSES["focal"]([9, 5, 1], fused=way)), epochs=3)
        for way in (True, False)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert losses[0][-1] < losses[0][0]


def test_autocast_logits_are_taken_in_bfloat16():
    labels, _, weights = problem("focal", "int64")
    layer, inputs = torch.nn.Linear(8, NUMBER), torch.randn(ROWS, 8)
    with torch.autocast("cpu", torch.bfloat16):
        z = layer(inputs)
        losses = fused.crossentropy("focal", labels, z, weights, 1.0)
    losses.mean().backward()
    assert z.dtype == torch.bfloat16
    assert layer.weight.grad.dtype == torch.float32
    expected = right("focal", labels, z.detach(), weights, 1.0)[0]
    np.testing.assert_allclose(losses.detach(), expected, rtol=2e-5)


def test_a_count_of_operations_and_a_trace_see_the_formulas():
    from torch.fx.experimental.proxy_tensor import make_fx

    labels, logits, weights = problem("focal", "int64")

    def losses(z):
        return fused.prepared(fused.Form("focal"), labels, z, weights, 1.0, 1.0, True)

    expected = losses(2 * logits)
    for traced in (make_fx(losses)(logits), torch.jit.trace(losses, (logits,), check_trace=False)):
        torch.testing.assert_close(traced(2 * logits), expected)


def test_an_export_holds_no_op():
    loss = CLASSES["softmax"](class_weights=np.ones(NUMBER))

    class Module(torch.nn.Module):
        def forward(self, y, z):
            return loss(y, z)

    labels, logits, _ = problem("softmax", "int64")
    program = torch.export.export(Module(), (labels, logits), strict=False)
    assert not any("cb_keras" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(labels, logits), loss(labels, logits))
    assert core.find()[0] is not None
