"""PyTorch's door: by ctypes in eager code, by ops that have names in compiled code.

A training loop of PyTorch calls a loss as a function, as examples/pytorch_loop.py does:

    loss = cb_keras.losses.ClassBalancedSoftmaxCrossentropy(class_counts)
    loss(labels, model(batch)).backward()

The gradient is computed together with the losses, for the mean that the loss takes of them; a loop
that scales the loss, as GradScaler does, costs one more pass over it. What is traced by others than
`torch.compile` (exports, `torch.jit`, a mode that sees every operation) takes keras.ops, as forward
mode does. In compiled code a class id that is no class makes its loss NaN, where eager code on the
CPU says which it is.
"""

from typing import Any

import torch

from cb_keras import private_api
from cb_keras.fused import core
from cb_keras.fused.doors import torch_compiled, torch_derivatives, torch_kernels
from cb_keras.fused.doors.torch_kernels import mean_upstream as mean_upstream
from cb_keras.fused.kinds import Form, traits


def why_not(dtype: str) -> str | None:
    """Why the op can't be used for logits of this dtype here and now, or None if it can."""
    reason = why_not_at_all(private_api.torch_device())
    if reason:
        return reason
    if dtype not in ("float32", "bfloat16", "float16"):
        return f"it has no kernel for {dtype} logits"
    if private_api.torch_exports():
        return "this is being exported, and would load only where the op has been loaded before"
    return None


@torch.compiler.assume_constant_result
def why_not_at_all(device: str) -> str | None:
    """What does not change while the process runs: nothing of it is for compilers to read."""
    library, why = core.find()
    if library is None:
        return why
    kind = device.partition(":")[0]
    if kind == "cuda" and not torch_kernels.has_cuda():
        return f"Keras computes on {device}, but {why}: it was built without nvcc"
    if kind not in ("cpu", "cuda"):
        return f"it has no kernel for {device}"
    return None


@torch.compiler.assume_constant_result
def is_transformed() -> bool:
    """Whether what is compiled is a derivative by `torch.func`, which knows no ops by name."""
    return private_api.torch_transforms() or private_api.torch_forward_mode()


def prepared(
    form: Form,
    labels: torch.Tensor,
    logits: torch.Tensor,
    class_weights: torch.Tensor,
    gamma: float,
    expected_upstream: Any,
    sparse: bool,
) -> torch.Tensor:
    """As `cb_keras.fused.prepared`."""
    classes, device = logits.shape[-1], logits.device
    problem = torch_derivatives.Problem(form, gamma if traits(form.kind).takes_gamma else 0.0)
    weights = class_weights.to(device, torch.float32)
    labels = _class_ids(labels) if sparse else labels.to(torch.float32)
    labels = labels.to(device).reshape((-1,) if sparse else (-1, classes))
    rows = logits if logits.dim() == 2 else logits.reshape(-1, classes)
    losses = _of_rows(problem, rows, labels, weights, expected_upstream)
    return losses if logits.dim() == 2 else losses.reshape(logits.shape[:-1])


def _of_rows(
    problem: torch_derivatives.Problem,
    logits: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    upstream: Any,
) -> torch.Tensor:
    """Losses `[N]` of logits `[N, C]`."""
    if torch.compiler.is_compiling():
        if labels.requires_grad or weights.requires_grad or is_transformed():
            return problem.formula(logits, labels, weights)
        form, gamma = problem
        fixed = form.kind, gamma, form.label_smoothing, form.ignore_class, form.adjusts
        # Not the number itself: a graph is compiled anew for each.
        averaged = isinstance(upstream, float) and upstream != 1.0
        return torch_compiled.losses(logits, labels, weights, *fixed, averaged=averaged)
    if (
        torch.jit.is_tracing()
        or private_api.torch_forward_mode()
        or private_api.torch_dispatches(logits, labels, weights)
    ):
        return problem.formula(logits, labels, weights)
    if private_api.torch_transforms():
        return torch_derivatives.TransformedLosses.apply(logits, labels, weights, problem)
    expected = expected_upstream(logits, upstream)
    call = torch_derivatives.Call(problem, expected)
    return torch_derivatives.Losses.apply(logits, labels, weights, call)


def expected_upstream(logits: torch.Tensor, upstream: Any) -> float | None:
    """The upstream gradient for which one is computed with the losses, or None for none.

    float16 can't hold a gradient before the loss scale is in it; and on a GPU bfloat16 would be
    rounded twice, where it is not known without waiting whether the upstream gradient is this one.
    """
    if not (torch.is_grad_enabled() and logits.requires_grad) or logits.dtype == torch.float16:
        return None
    if logits.dtype != torch.float32 and logits.device.type != "cpu":
        return None
    return upstream


def _class_ids(labels: torch.Tensor) -> torch.Tensor:
    """Labels in a type that the op reads, without any change to their values."""
    if labels.dtype in torch_kernels.IDS:
        return labels
    return labels.to(torch.int64 if labels.dtype == torch.uint32 else torch.int32)
