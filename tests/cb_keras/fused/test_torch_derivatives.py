"""Derivatives of the op on PyTorch by all inputs, of every order, against those of the formulas."""

import numpy as np
import pytest

from cb_keras import fused
from tests.cb_keras.cases import CLASSES, LOSSES
from tests.cb_keras.gradients import BACKEND

if BACKEND != "torch":
    pytest.skip("of the op on PyTorch", allow_module_level=True)

import torch
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

pytestmark = pytest.mark.usefixtures("fused_op")

UPSTREAM = torch.arange(6.0)  # not what the op expects, and a row of weight 0


def problem(kind, form):
    """`(loss by the op, loss by the formula)`, functions of the inputs, and the inputs."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(6, 5, generator=generator)
    weights = torch.tensor([0.5, 1.2, 0.0, 2.0, 1.0])
    soft = torch.rand(6, 5, generator=generator)
    ids = torch.randint(0, 5, (6,), generator=generator)
    gamma = {"gamma": 2.0} if "focal" in kind else {}

    def by_op(logits, weights, labels=ids):
        losses = fused.crossentropy(kind, labels, logits, weights, 2.0, expected_upstream=0.25)
        return torch.sum(UPSTREAM * losses)

    def by_formula(logits, weights, labels=ids):
        return torch.sum(UPSTREAM * LOSSES[kind](labels, logits, weights, **gamma))

    return by_op, by_formula, [logits, weights] + ([soft] if form == "soft" else [])


def first(function, inputs):
    inputs = [x.clone().requires_grad_() for x in inputs]
    return torch.autograd.grad(function(*inputs), inputs)


def penalty(function, inputs):
    """Gradient of the loss and a penalty on its gradient by the logits."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    value = function(*inputs)
    (slope,) = torch.autograd.grad(value, inputs[0], create_graph=True)
    return torch.autograd.grad(value + (slope**2).sum(), inputs)


def functional_penalty(function, inputs):
    def total(*inputs):
        return function(*inputs) + (grad(function)(*inputs) ** 2).sum()

    return grad(total, argnums=tuple(range(len(inputs))))(*inputs)


def dual(function, inputs):
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(x, torch.ones_like(x)) for x in inputs]
        return [forward_ad.unpack_dual(function(*duals)).tangent]


def dual_upstream(function, inputs):
    """Forward mode that begins after the loss, in the gradient that arrives at it."""
    logits = inputs[0].clone().requires_grad_()
    value = function(logits, *inputs[1:])
    with forward_ad.dual_level():
        upstream = forward_ad.make_dual(torch.tensor(2.0), torch.tensor(3.0))
        (slope,) = torch.autograd.grad(value, logits, upstream)
        return [forward_ad.unpack_dual(slope).tangent]


def of_batches(function, inputs):
    """Gradients of several problems at once, in either order, also by class weights that differ."""
    logits, weights, *labels = inputs
    several = torch.stack([logits, 2 * logits, -logits])
    of_logits = vmap(lambda z: grad(function)(z, weights, *labels))(several)
    total = grad(lambda z: vmap(lambda z: function(z, weights, *labels), in_dims=2)(z).sum())
    of_weights = vmap(lambda w: grad(function)(logits, w, *labels))(torch.stack([weights] * 2))
    return [of_logits, total(several.permute(1, 2, 0)), of_weights]


DERIVATIVES = {
    "gradient": first,
    "gradient penalty": penalty,
    "grad": lambda f, x: grad(f, argnums=tuple(range(len(x))))(*x),
    "grad of a gradient penalty": functional_penalty,
    "jvp": lambda f, x: [jvp(f, tuple(x), tuple(map(torch.ones_like, x)))[1]],
    "dual numbers": dual,
    "dual upstream gradient": dual_upstream,
    "hessian": lambda f, x: [hessian(f)(*x)],
    "jacrev of jacrev": lambda f, x: [jacrev(jacrev(f))(*x)],
    "jacfwd of jacfwd": lambda f, x: [jacfwd(jacfwd(f))(*x)],
    "vmap": of_batches,
}
ALL = ("gradient", "gradient penalty", "vmap")  # elsewhere each loss once, in turn
CASES = [
    (kind, form, name)
    for at, name in enumerate(DERIVATIVES)
    for number, kind in enumerate(LOSSES)
    for form in ("ids", "soft")
    if name in ALL or (number + at) % 4 == (0 if form == "ids" else 2)
]


@pytest.mark.parametrize(("kind", "form", "name"), CASES)
def test_derivatives_by_logits_weights_and_soft_labels_are_those_of_the_formula(kind, form, name):
    by_op, by_formula, inputs = problem(kind, form)
    found, right = (DERIVATIVES[name](function, inputs) for function in (by_op, by_formula))
    for ours, theirs in zip(found, right, strict=True):
        np.testing.assert_allclose(
            ours.detach(), theirs.detach(), rtol=1e-4, atol=1e-5 * theirs.abs().max().item()
        )


def twice(function, inputs):
    """The gradient of a graph that is kept, of two upstream gradients."""
    logits = inputs[0].clone().requires_grad_()
    value = function(logits)
    (first,) = torch.autograd.grad(value, logits, retain_graph=True)
    first = first.clone()
    (second,) = torch.autograd.grad(value, logits, torch.tensor(3.0), retain_graph=True)
    return [first, second.clone(), *torch.autograd.grad(value, logits)]


def many_at_once(function, inputs):
    logits = inputs[0].clone().requires_grad_()
    upstream = torch.tensor([1.0, -2.0])
    return torch.autograd.grad(function(logits), logits, upstream, is_grads_batched=True)


OF_A_MEAN = {name: DERIVATIVES[name] for name in ("gradient", "gradient penalty", "dual numbers")}
OF_A_MEAN |= {"dual upstream": dual_upstream, "kept graph": twice, "many at once": many_at_once}


@pytest.mark.parametrize("name", OF_A_MEAN)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_derivatives_of_a_mean_that_the_op_takes_itself_are_those_of_the_formula(reduction, name):
    logits = 3 * torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    ids, weights = torch.tensor([0, 4, 2, 1, 1, 3]), [0.5, 1.2, 0.0, 2.0, 1.0]
    found, right = (
        OF_A_MEAN[name](lambda z, loss=loss: loss(ids, z), [logits])
        for loss in (
            CLASSES["focal"](class_weights=weights, reduction=reduction, fused=way)
            for way in (True, False)
        )
    )
    for ours, theirs in zip(found, right, strict=True):
        assert theirs.abs().max() > 1e-3
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
