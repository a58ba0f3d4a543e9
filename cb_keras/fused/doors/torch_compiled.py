"""The op in graphs of PyTorch, as `torch.compile` makes them: it is known there by name.

`cb_keras::losses` is what Dynamo sees. When the derivatives of a graph are made, it becomes some of
these ops of the kernels, so that compiled code calls them without any autograd around them:

    values             losses alone, where nobody asks for a gradient
    values_and_kept    on the CPU: keeps the gradient, and returns a name for it, a tensor whose
                       address is what it is found by
    kept_slope         what was kept, in the backward pass
    values_and_slope   on a GPU, float32: the gradient too, which the backward pass multiplies
    kernel_slope       else: the gradient in the backward pass, which rounds it once

A gradient that the graph holds would be multiplied by what comes from above, once more from memory
to memory, even where that changes nothing. What is kept beside the graph is given away as it is.
The graph keeps the logits for its backward pass too, should that one run twice.
"""

import ctypes
import functools
import weakref
from typing import Any

import torch

from cb_keras.fused.doors import torch_derivatives as derivatives
from cb_keras.fused.doors import torch_kernels as kernels

_TENSORS = "Tensor logits, Tensor labels, Tensor weights"
_FIXED = (
    "str kind, float gamma, float label_smoothing, int? ignore_class, int adjusts, bool averaged"
)
_NUMBER_FIXED = _FIXED.count(",") + 1
_OPS = torch.library.Library("cb_keras", "FRAGMENT")
# Of fewer logits PyTorch's compiler makes code that is done before a call of the op is: on an H100,
# whose kernels take 0.1 ms of 2^25, the calls take 0.8 ms more than that code in all.
_FEW = {"cpu": 2**14, "cuda": 2**27}
# The address of a name -> what is kept under it.
_KEPT: "weakref.WeakValueDictionary[int, _Kept]" = weakref.WeakValueDictionary()


class _Kept(ctypes.c_int64):
    """Memory of a tensor that is a name: who holds the tensor keeps the gradient."""

    slope: torch.Tensor | None
    expected: float


def losses(
    logits: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    *fixed: Any,
    averaged: bool,
) -> torch.Tensor:
    """Losses `[N]`, differentiable by the logits; labels and weights are constants.

    `averaged` says that the upstream gradient is likely that of their mean, else of their sum.
    """
    labels, weights = labels.detach(), weights.detach()
    if logits.numel() < _FEW.get(logits.device.type, _FEW["cpu"]):
        return derivatives.Problem.of(fixed).formula(logits, labels, weights)
    return torch.ops.cb_keras.losses(logits, labels, weights, *fixed, averaged)


def losses_in_one(
    logits: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    *fixed: Any,
    averaged: bool,
) -> torch.Tensor:
    """As `losses`, called where Dynamo does not follow, which can't follow a derivative."""
    wants_gradient = torch.is_grad_enabled() and logits.requires_grad
    if wants_gradient and logits.numel() < _FEW["cpu"]:
        return _LossesOfFew.apply(logits, labels.detach(), weights.detach(), *fixed, averaged)
    return losses(logits, labels, weights, *fixed, averaged=averaged)


class _Losses(torch.autograd.Function):
    """Losses `[N]` with a gradient."""

    @staticmethod
    def forward(ctx: Any, logits: Any, labels: Any, weights: Any, *fixed: Any) -> Any:
        ctx.fixed = fixed
        inputs, slope = (logits, labels, weights), None
        ctx.is_kept = logits.device.type == "cpu" and logits.dtype != torch.float16
        if ctx.is_kept:
            losses, slope = torch.ops.cb_keras.values_and_kept(*inputs, *fixed)
        elif logits.dtype == torch.float32:
            losses, slope = torch.ops.cb_keras.values_and_slope(*inputs, *fixed)
        else:
            losses = torch.ops.cb_keras.values(*inputs, *fixed)
        ctx.save_for_backward(*inputs, slope)
        return losses

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[Any, ...]:
        *inputs, slope = ctx.saved_tensors
        nothing = (None,) * (2 + _NUMBER_FIXED)
        if torch.is_grad_enabled():
            return torch.ops.cb_keras.slope(*inputs, upstream, *ctx.fixed), *nothing
        if ctx.is_kept:
            return torch.ops.cb_keras.kept_slope(*inputs, upstream, slope, *ctx.fixed), *nothing
        if slope is None:
            return torch.ops.cb_keras.kernel_slope(*inputs, upstream, *ctx.fixed), *nothing
        factor = upstream.unsqueeze(1)  # a row that is left out is 0, whatever its slope
        by_logits = torch.where(factor == 0, 0.0, slope * factor)
        return by_logits.to(inputs[0].dtype), *nothing


class _LossesOfFew(_Losses):
    """Losses `[N]` by formulas, of so few numbers that calls and tensors are what costs.

    What PyTorch itself would keep for the gradient are eight tensors; this is the gradient.
    """

    @staticmethod
    def forward(ctx: Any, logits: Any, labels: Any, weights: Any, *fixed: Any) -> Any:
        ctx.fixed, ctx.is_kept = fixed, False
        with torch.enable_grad():
            z = logits.detach().to(torch.float32).requires_grad_()
            losses = _problem(fixed).formula(z, labels, weights)
            slope = torch.autograd.grad(losses.sum(), z)[0]
        ctx.save_for_backward(logits, labels, weights, slope)
        return losses.detach()


class _Slope(torch.autograd.Function):
    """Gradient `[N, C]` of `sum(upstream * losses)`, to be differentiated further."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        tensors, ctx.fixed = inputs[:-_NUMBER_FIXED], inputs[-_NUMBER_FIXED:]
        ctx.save_for_backward(*tensors)
        return torch.ops.cb_keras.kernel_slope(*inputs)

    @staticmethod
    def backward(ctx: Any, by_slope: torch.Tensor) -> tuple[Any, ...]:
        wanted = ctx.needs_input_grad[:4]
        found = derivatives.of_slope(_problem(ctx.fixed), ctx.saved_tensors, by_slope, wanted)
        return *found, *(None,) * _NUMBER_FIXED


def _losses(logits: Any, *others: Any) -> Any:
    if torch.is_grad_enabled() and logits.requires_grad:
        return _Losses.apply(logits, *others)
    return torch.ops.cb_keras.values(logits, *others)


def _values(logits: Any, labels: Any, weights: Any, *fixed: Any) -> Any:
    return kernels.compute(*_problem(fixed), logits, labels, weights)[0]


def _values_and_slope(logits: Any, labels: Any, weights: Any, *fixed: Any) -> Any:
    return kernels.compute(*_problem(fixed), logits, labels, weights, 1.0, True)


def _values_and_kept(logits: Any, labels: Any, weights: Any, *fixed: Any) -> Any:
    expected = kernels.mean_upstream(logits) if fixed[-1] else 1.0
    expected = kernels.expected_factor(expected, logits.device)
    kept = _Kept()
    losses, kept.slope = kernels.compute(*_problem(fixed), logits, labels, weights, expected, True)
    kept.expected = expected
    name = torch.frombuffer(kept, dtype=torch.int64)
    _KEPT[name.data_ptr()] = kept
    return losses, name


def _kept_slope(
    logits: Any, labels: Any, weights: Any, upstream: Any, name: Any, *fixed: Any
) -> Any:
    """The kept gradient for this upstream one, given away; made anew where there is none.

    There is none in a second backward pass, and under a copy of the name.
    """
    kept = _KEPT.get(name.data_ptr())
    slope = None
    if kept is not None:
        slope, kept.slope = kept.slope, None
        if slope is not None and kernels.scale(slope, upstream, kept.expected):
            return slope
    memory = True if slope is None else slope  # which bfloat16 leaves to be filled again
    return kernels.compute(*_problem(fixed), logits, labels, weights, upstream, memory)[1]


def _kernel_slope(logits: Any, labels: Any, weights: Any, upstream: Any, *fixed: Any) -> Any:
    return kernels.compute(*_problem(fixed), logits, labels, weights, upstream, True)[1]


def _fake_values(logits: Any, *_: Any) -> Any:
    return logits.new_empty(logits.shape[0], dtype=torch.float32)


def _fake_slope(logits: Any, *_: Any) -> Any:
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


def _fake_values_and_slope(logits: Any, *_: Any) -> Any:
    return _fake_values(logits), _fake_slope(logits)


def _fake_values_and_kept(logits: Any, *_: Any) -> Any:
    return _fake_values(logits), logits.new_empty(1, dtype=torch.int64)


@functools.lru_cache(maxsize=256)
def _problem(fixed: tuple[Any, ...]) -> derivatives.Problem:
    return derivatives.Problem.of(fixed[:-1])


def _define(name: str, tensors: str, results: str, fake: Any, **implementations: Any) -> None:
    """One op, with what computes it for each of the dispatcher's keys.

    By hand: what `torch.library.custom_op` wraps it in costs more than the op does.
    """
    _OPS.define(f"{name}({tensors}, {_FIXED}) -> {results}")
    for key, implementation in implementations.items():
        _OPS.impl(name, implementation, key)
    torch.library.register_fake(f"cb_keras::{name}", fake, lib=_OPS)


def _define_all() -> None:
    of_slope, both = f"{_TENSORS}, Tensor upstream", "(Tensor, Tensor)"
    for name, tensors, results, kernel, fake in (
        ("values", _TENSORS, "Tensor", _values, _fake_values),
        ("values_and_slope", _TENSORS, both, _values_and_slope, _fake_values_and_slope),
        ("kernel_slope", of_slope, "Tensor", _kernel_slope, _fake_slope),
    ):
        _define(name, tensors, results, fake, CPU=kernel, CUDA=kernel)
    _define("values_and_kept", _TENSORS, both, _fake_values_and_kept, CPU=_values_and_kept)
    _define("kept_slope", f"{of_slope}, Tensor name", "Tensor", _fake_slope, CPU=_kept_slope)
    _define("losses", _TENSORS, "Tensor", _fake_values, CPU=_values, CUDA=_values, Autograd=_losses)
    _define(
        "slope",
        of_slope,
        "Tensor",
        _fake_slope,
        CPU=_kernel_slope,
        CUDA=_kernel_slope,
        Autograd=_Slope.apply,
    )


if not hasattr(torch.ops.cb_keras, "losses"):  # else this module was imported again
    _define_all()
