"""The op in graphs of PyTorch, as `torch.compile` makes them: it is known there by name.

`cb_keras::losses` is what Dynamo sees. When the derivatives of a graph are made, it becomes one of
three ops of the kernels, so that compiled code calls these without any autograd around them:

    values             losses alone, where nobody asks for a gradient
    values_and_slope   float32 logits: the gradient too, which the backward pass multiplies
    kernel_slope       16-bit logits: the gradient in the backward pass, which rounds it once
"""

import functools
from typing import Any

import torch

from cb_keras.fused.doors import torch_derivatives as derivatives
from cb_keras.fused.doors import torch_kernels as kernels

_TENSORS = "Tensor logits, Tensor labels, Tensor weights"
_FIXED = "str kind, float gamma, float label_smoothing, int? ignore_class, int adjusts"
_NUMBER_FIXED = _FIXED.count(",") + 1
_OPS = torch.library.Library("cb_keras", "FRAGMENT")
# Of fewer logits PyTorch's compiler makes code that is done before a call of the op is: on an H100,
# whose kernels take 0.1 ms of 2^25, the calls take 0.8 ms more than that code in all.
_FEW = {"cpu": 2**14, "cuda": 2**27}


def losses(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, *fixed: Any
) -> torch.Tensor:
    """Losses `[N]`, differentiable by the logits; labels and weights are constants."""
    labels, weights = labels.detach(), weights.detach()
    if logits.numel() < _FEW.get(logits.device.type, _FEW["cpu"]):
        return derivatives.Problem.of(fixed).formula(logits, labels, weights)
    return torch.ops.cb_keras.losses(logits, labels, weights, *fixed)


class _Losses(torch.autograd.Function):
    """Losses `[N]` with a gradient."""

    @staticmethod
    def forward(ctx: Any, logits: Any, labels: Any, weights: Any, *fixed: Any) -> Any:
        ctx.fixed = fixed
        inputs = logits, labels, weights
        if logits.dtype != torch.float32:
            ctx.save_for_backward(*inputs, None)
            return torch.ops.cb_keras.values(*inputs, *fixed)
        losses, slope = torch.ops.cb_keras.values_and_slope(*inputs, *fixed)
        ctx.save_for_backward(*inputs, slope)
        return losses

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[Any, ...]:
        *inputs, slope = ctx.saved_tensors
        nothing = (None,) * (2 + _NUMBER_FIXED)
        if torch.is_grad_enabled():
            return torch.ops.cb_keras.slope(*inputs, upstream, *ctx.fixed), *nothing
        if slope is None:
            return torch.ops.cb_keras.kernel_slope(*inputs, upstream, *ctx.fixed), *nothing
        factor = upstream.unsqueeze(1)  # a row that is left out is 0, whatever its slope
        return torch.where(factor == 0, 0.0, slope * factor), *nothing


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


def _kernel_slope(logits: Any, labels: Any, weights: Any, upstream: Any, *fixed: Any) -> Any:
    return kernels.compute(*_problem(fixed), logits, labels, weights, upstream, True)[1]


def _fake_values(logits: Any, *_: Any) -> Any:
    return logits.new_empty(logits.shape[0], dtype=torch.float32)


def _fake_slope(logits: Any, *_: Any) -> Any:
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


def _fake_values_and_slope(logits: Any, *_: Any) -> Any:
    return _fake_values(logits), _fake_slope(logits)


@functools.lru_cache(maxsize=256)
def _problem(fixed: tuple[Any, ...]) -> derivatives.Problem:
    return derivatives.Problem.of(fixed)


def _define(name: str, tensors: str, results: str, fake: Any, **implementations: Any) -> None:
    """One op, with what computes it for each of the dispatcher's keys.

    By hand: what `torch.library.custom_op` wraps it in costs more than the op does.
    """
    _OPS.define(f"{name}({tensors}, {_FIXED}) -> {results}")
    for key, implementation in implementations.items():
        _OPS.impl(name, implementation, key)
    torch.library.register_fake(f"cb_keras::{name}", fake, lib=_OPS)


def _define_all() -> None:
    of_slope = f"{_TENSORS}, Tensor upstream"
    for name, tensors, results, kernel, fake in (
        ("values", _TENSORS, "Tensor", _values, _fake_values),
        (
            "values_and_slope",
            _TENSORS,
            "(Tensor, Tensor)",
            _values_and_slope,
            _fake_values_and_slope,
        ),
        ("kernel_slope", of_slope, "Tensor", _kernel_slope, _fake_slope),
    ):
        _define(name, tensors, results, fake, CPU=kernel, CUDA=kernel)
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
