"""The shortest way to the op on PyTorch, for tensors that a loss need not look into.

What a loss does with any other arguments takes longer than the op; and every function and attribute
that compiled code passes on that way is looked at again at each of its calls.
"""

import functools
from typing import Any

import torch

from cb_keras import private_api
from cb_keras.fused.doors import torch as door
from cb_keras.fused.doors import torch_compiled
from cb_keras.fused.doors.torch_derivatives import Call, Losses, Problem, divided
from cb_keras.fused.doors.torch_kernels import FLOATS, compute
from cb_keras.fused.kinds import Form, Kind, averages, traits

_IDS = (torch.int64, torch.int32)


def call_is_replaced(loss: Any) -> bool:
    """Whether somebody put another `call` on this loss, as wrappers and mocks do; in eager code."""
    return not torch.compiler.is_compiling() and "call" in vars(loss)


def are_plain(labels: Any, logits: Any, num_classes: int, look_at_values: bool) -> bool:
    """Whether these are class ids `[N]` and logits `[N, C]` as they come, where the op can be used.

    Args:
        labels: `y_true` as it was given.
        logits: `y_pred` as it was given.
        num_classes: C.
        look_at_values: Whether eager logits are still to be looked at.
    """
    if type(labels) is not torch.Tensor or type(logits) is not torch.Tensor:
        return False
    device = logits.device
    if (
        labels.dtype not in _IDS
        or logits.dtype not in FLOATS
        or labels.dim() != 1
        or logits.shape != (labels.shape[0], num_classes)
        or labels.device != device
        or door.why_not_at_all(device.type)
        or private_api.marked_by_keras(logits)
        or private_api.torch_exports()
    ):
        return False
    if torch.compiler.is_compiling():
        return not door.is_transformed()
    return not (look_at_values or private_api.torch_is_followed()) and (
        private_api.torch_device().partition(":")[0] == device.type
    )


def loss(
    kind: Kind,
    gamma: float,
    label_smoothing: float,
    adjusts: int,
    labels: torch.Tensor,
    logits: torch.Tensor,
    class_weights: torch.Tensor,
    reduction: str | None,
) -> torch.Tensor:
    """The reduced loss of what `are_plain` accepts; the CPU refuses invalid ids in eager code.

    Args:
        kind: Name of the loss.
        gamma: Its focusing parameter, if it has one.
        label_smoothing: Its label smoothing, or 0.
        adjusts: What follows the class weights.
        labels: Class ids.
        logits: Logits.
        class_weights: `[C]`, or `[1 + n, C]`.
        reduction: As of `keras.losses.Loss`.
    """
    weights = class_weights.to(logits.device, torch.float32)
    divisor = _divisor(reduction, labels)
    if torch.compiler.is_compiling():
        fixed = kind, gamma, label_smoothing, None, adjusts
        if weights.requires_grad:
            return divided(Problem.of(fixed).formula(logits, labels, weights), divisor)
        return divided(_in_graph(logits, labels, weights, averages(reduction), *fixed), divisor)
    problem = _problem(kind, gamma, label_smoothing, adjusts)
    if not (torch.is_grad_enabled() and (logits.requires_grad or weights.requires_grad)):
        losses, _ = compute(*problem, logits, labels, weights, refuse=True)
        return divided(losses, divisor)
    upstream = door.mean_upstream(logits) if averages(reduction) else 1.0
    call = Call(problem, door.expected_upstream(logits, upstream), True, divisor)
    return Losses.apply(logits, labels, weights, call)


def reduced(losses: torch.Tensor, reduction: str | None) -> torch.Tensor:
    """What Keras makes of losses without weights; its own way there costs more.

    Those that a Keras mask leaves out are 0, and do not count in the mean.
    """
    divisor, kept = _divisor(reduction, losses), private_api.keras_mask(losses)
    if kept is None or divisor is None or reduction == "sum":
        return divided(losses, divisor)
    return losses.sum() / kept.sum().clamp(min=1)


def _divisor(reduction: str | None, losses: torch.Tensor) -> int | None:
    """What the sum of losses of such a shape is divided by; None where they are not added."""
    if reduction in (None, "none") or tuple(losses.shape) in ((), (0,)):
        return None
    return 1 if reduction == "sum" else losses.numel()


@functools.lru_cache(maxsize=256)
def _problem(kind: Kind, gamma: float, label_smoothing: float, adjusts: int) -> Problem:
    form = Form(kind, label_smoothing, None, adjusts)
    return Problem(form, gamma if traits(kind).takes_gamma else 0.0)


@torch.compiler.allow_in_graph
def _in_graph(logits: Any, labels: Any, weights: Any, averaged: bool, *fixed: Any) -> torch.Tensor:
    """The op, or for few numbers the formulas; what it does is not followed by Dynamo."""
    return torch_compiled.losses_in_one(logits, labels, weights, *fixed, averaged=averaged)
