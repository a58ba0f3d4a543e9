"""The op in graphs of PyTorch, as `torch.compile` makes them: it is known there by name.

The gradient is computed in the backward pass, from the logits: what a graph keeps for its backward
pass can't be changed in place.
"""

from typing import Any

import torch

from cb_keras.fused.doors import torch_derivatives as derivatives
from cb_keras.fused.doors import torch_kernels as kernels
from cb_keras.fused.kinds import Form

_FIXED = "str kind, float gamma, float label_smoothing, int? ignore_class, int adjusts"
_NUMBER_FIXED = _FIXED.count(",") + 1
_OPS = torch.library.Library("cb_keras", "FRAGMENT")


def losses(
    problem: derivatives.Problem, logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Losses `[N]`, differentiable by the logits; labels and weights are constants."""
    return torch.ops.cb_keras.losses(logits, labels.detach(), weights.detach(), *_fixed(problem))


def _losses(logits: Any, labels: Any, weights: Any, *fixed: Any) -> Any:
    return kernels.compute(*_problem(fixed), logits, labels, weights)[0]


def _slope(logits: Any, labels: Any, weights: Any, upstream: Any, *fixed: Any) -> Any:
    return kernels.compute(*_problem(fixed), logits, labels, weights, upstream, True)[1]


def _fake_losses(logits: Any, *_: Any) -> Any:
    return logits.new_empty(logits.shape[0], dtype=torch.float32)


def _fake_slope(logits: Any, *_: Any) -> Any:
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    tensors, ctx.fixed = inputs[:-_NUMBER_FIXED], inputs[-_NUMBER_FIXED:]
    ctx.save_for_backward(*tensors)


def _by_logits(ctx: Any, upstream: torch.Tensor) -> tuple[Any, ...]:
    slope = torch.ops.cb_keras.slope(*ctx.saved_tensors, upstream, *ctx.fixed)
    return slope, *(None,) * (2 + _NUMBER_FIXED)


def _of_slope(ctx: Any, by_slope: torch.Tensor) -> tuple[Any, ...]:
    found = derivatives.of_slope(
        _problem(ctx.fixed), ctx.saved_tensors, by_slope, ctx.needs_input_grad[:4]
    )
    return *found, *(None,) * _NUMBER_FIXED


def _define(name: str, tensors: str, kernel: Any, fake: Any, backward: Any) -> None:
    """One op; by hand, since `torch.library.custom_op` wraps it in what costs more than it does."""
    if hasattr(torch.ops.cb_keras, name):  # this module was imported again
        return
    _OPS.define(f"{name}({tensors}, {_FIXED}) -> Tensor")
    for device in ("CPU", "CUDA"):
        _OPS.impl(name, kernel, device)
    torch.library.register_fake(f"cb_keras::{name}", fake, lib=_OPS)
    torch.library.register_autograd(f"cb_keras::{name}", backward, setup_context=_keep, lib=_OPS)


def _fixed(problem: derivatives.Problem) -> tuple[Any, ...]:
    form = problem.form
    return form.kind, problem.gamma, form.label_smoothing, form.ignore_class, form.adjusts


def _problem(fixed: tuple[Any, ...]) -> derivatives.Problem:
    kind, gamma, label_smoothing, ignore_class, adjusts = fixed
    return derivatives.Problem(Form(kind, label_smoothing, ignore_class, adjusts), gamma)


_TENSORS = "Tensor logits, Tensor labels, Tensor weights"
_define("losses", _TENSORS, _losses, _fake_losses, _by_logits)
_define("slope", f"{_TENSORS}, Tensor upstream", _slope, _fake_slope, _of_slope)
