"""The op in eager code of PyTorch and under `torch.func`: derivatives of every order and kind.

The gradient by the logits is the kernels'. Those by class weights and soft labels, and higher ones,
are those of the formulas in `cb_keras.functional`, by `torch.func.vjp`, which works inside every
other transform. In forward mode, which is not nested through functions such as these, everything is
left to the formulas.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.func import vjp

from cb_keras import functional, private_api
from cb_keras.fused.doors import torch_kernels as kernels
from cb_keras.fused.kinds import Form

Tensors = tuple[torch.Tensor, ...]


class Problem(NamedTuple):
    """What is fixed of a call: the loss, and the number that it depends on."""

    form: Form
    gamma: float

    @classmethod
    def of(cls, fixed: tuple[Any, ...]) -> "Problem":
        """Of what the ops in graphs take after the tensors."""
        kind, gamma, label_smoothing, ignore_class, adjusts = fixed
        return cls(Form(kind, label_smoothing, ignore_class, adjusts), gamma)

    def formula(self, logits: Any, labels: Any, weights: Any) -> Any:
        """Losses `[N]` by keras.ops."""
        return functional.prepared_crossentropy(
            self.form.kind,
            labels,
            logits.to(torch.float32),
            weights,
            self.gamma,
            labels.dim() == 1,
            self.form.label_smoothing,
            self.form.ignore_class,
            self.form.adjusts,
        )

    def slope(self, logits: Any, labels: Any, weights: Any, upstream: Any) -> Any:
        """Gradient of `sum(upstream * losses)` by the logits, by keras.ops."""
        return vjp(lambda z: self.formula(z, labels, weights), logits)[1](upstream)[0]


class Call(NamedTuple):
    """What is fixed of a call in eager code.

    Attributes:
        problem: The loss.
        expected: The upstream gradient that is likely, or None for no stored gradient.
        refuse: Whether class ids that are not classes are an error on the CPU, else NaN.
        divisor: What the sum of the losses is divided by, or None for each loss by itself.
    """

    problem: Problem
    expected: float | None
    refuse: bool = False
    divisor: int | None = None


class Losses(torch.autograd.Function):
    """Losses `[N]` in eager code, or their mean: with the gradient, where one is wanted.

    The stored gradient is given away by the first backward pass, which may change it. One that
    comes after it (`retain_graph`) computes it again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: torch.Tensor,
        labels: torch.Tensor,
        weights: torch.Tensor,
        call: Call,
    ) -> torch.Tensor:
        """The values, by the kernels."""
        (form, gamma), expected, refuse, ctx.divisor = call
        ctx.problem, ctx.expected = call.problem, None
        ctx.save_for_backward(logits, labels, weights)
        if expected is not None:
            ctx.expected = kernels.expected_factor(expected, logits.device)
        losses, ctx.stored = kernels.compute(
            form, gamma, logits, labels, weights, ctx.expected, expected is not None, refuse
        )
        return divided(losses, ctx.divisor)

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[Any, ...]:
        """The gradients by the inputs."""
        stored, ctx.stored = ctx.stored, None
        if stored is not None and ctx.divisor is not None and _is_left_as_it_is(ctx, upstream):
            return stored, None, None, None
        slope = None
        if ctx.divisor is not None:  # the gradient of each loss, as that of their sum has it
            upstream = (upstream / ctx.divisor).expand(ctx.saved_tensors[0].shape[0])
        if ctx.needs_input_grad[0]:
            if private_api.torch_batched_gradients(upstream):
                slope = ctx.problem.slope(*ctx.saved_tensors, upstream)
            elif torch.is_grad_enabled() or private_api.torch_forward_mode():
                slope = _differentiable_slope(ctx, upstream)
            elif stored is not None and kernels.scale(stored, upstream, ctx.expected):
                slope = stored
            else:
                memory = True if stored is None else stored
                form, gamma = ctx.problem
                logits, labels, weights = ctx.saved_tensors
                slope = kernels.compute(form, gamma, logits, labels, weights, upstream, memory)[1]
        return slope, *_by_labels_and_weights(ctx, upstream), None


def _is_left_as_it_is(ctx: Any, upstream: torch.Tensor) -> bool:
    """Whether the gradient of a mean is the stored one and nothing else is asked for: short."""
    return (
        not torch.is_grad_enabled()
        and not any(ctx.needs_input_grad[1:])
        and not private_api.torch_is_followed()
        and not private_api.torch_batched_gradients(upstream)
        and kernels.equals_one(upstream)
    )


def divided(losses: torch.Tensor, divisor: int | None) -> torch.Tensor:
    """The sum of losses over the divisor, or where it is None the losses."""
    if divisor is None:
        return losses
    total = losses.sum()
    return total if divisor == 1 else total / divisor


class TransformedLosses(torch.autograd.Function):
    """Losses `[N]` under a transform of `torch.func`; the gradient is computed afterwards."""

    @staticmethod
    def forward(
        logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, problem: Problem
    ) -> torch.Tensor:
        """The values, by the kernels."""
        return kernels.compute(*problem, logits, labels, weights)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keeps what `backward` needs."""
        *tensors, ctx.problem = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[Any, ...]:
        """The gradients by the inputs."""
        slope = None
        if ctx.needs_input_grad[0]:
            slope = _differentiable_slope(ctx, upstream)
        return slope, *_by_labels_and_weights(ctx, upstream), None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:
        """Of a batch of problems."""
        *tensors, problem = inputs
        return _in_rows(TransformedLosses, info.batch_size, in_dims, tensors, problem), 0


class Slope(torch.autograd.Function):
    """Gradient `[N, C]` of `sum(upstream * losses)` by the logits, to be differentiated further."""

    @staticmethod
    def forward(
        logits: torch.Tensor,
        labels: torch.Tensor,
        weights: torch.Tensor,
        upstream: torch.Tensor,
        problem: Problem,
    ) -> Any:
        """The values, by the kernels."""
        return kernels.compute(*problem, logits, labels, weights, upstream, True)[1]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keeps what `backward` needs."""
        *tensors, ctx.problem = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, by_slope: torch.Tensor) -> tuple[Any, ...]:
        """The gradients by the inputs."""
        wanted = ctx.needs_input_grad[:4]
        return *of_slope(ctx.problem, ctx.saved_tensors, by_slope, wanted), None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:
        """Of a batch of problems."""
        *tensors, problem = inputs
        return _in_rows(Slope, info.batch_size, in_dims, tensors, problem), 0


def of_slope(
    problem: Problem, inputs: Tensors, by_slope: torch.Tensor, wanted: tuple[bool, ...]
) -> tuple[Any, ...]:
    """Gradients of `sum(by_slope * slope)` by the four inputs of `Slope`, or None."""
    return _vjp(problem.slope, inputs, by_slope, wanted)


def _differentiable_slope(ctx: Any, upstream: torch.Tensor) -> torch.Tensor:
    """Gradient by the logits, of which there may be derivatives."""
    inputs = *ctx.saved_tensors, upstream
    if private_api.torch_forward_mode():
        return ctx.problem.slope(*inputs)
    return Slope.apply(*inputs, ctx.problem)


def _by_labels_and_weights(ctx: Any, upstream: torch.Tensor) -> tuple[Any, Any]:
    wanted = (False, *ctx.needs_input_grad[1:3])
    if not any(wanted):
        return None, None
    return _vjp(ctx.problem.formula, ctx.saved_tensors, upstream, wanted)[1:]


def _vjp(
    function: Callable[..., Any], inputs: Tensors, upstream: torch.Tensor, wanted: tuple[bool, ...]
) -> tuple[Any, ...]:
    """Gradients of `sum(upstream * function(*inputs))` by those inputs that are wanted, or None."""
    if not any(wanted):
        return (None,) * len(wanted)
    of_wanted = _function_of(function, inputs, wanted)
    _, backward = vjp(of_wanted, *_chosen(inputs, wanted))
    found = iter(backward(upstream))
    return tuple(next(found) if w else None for w in wanted)


def _function_of(
    function: Callable[..., Any], inputs: Tensors, chosen: tuple[bool, ...]
) -> Callable[..., Any]:
    """`function` of the chosen inputs, the others as they are."""

    def of_chosen(*values: Any) -> Any:
        remaining = iter(values)
        return function(*(next(remaining) if c else x for x, c in zip(inputs, chosen, strict=True)))

    return of_chosen


def _chosen(values: Any, chosen: tuple[bool, ...]) -> tuple[Any, ...]:
    return tuple(value for value, c in zip(values, chosen, strict=False) if c)


def _in_rows(
    function: Any,
    size: int,
    in_dims: tuple[Any, ...],
    tensors: list[torch.Tensor],
    problem: Problem,
) -> torch.Tensor:
    """`function` of a batch of problems, in one call with the rows of all of them.

    Class weights that differ between the problems leave each a call of its own.
    """
    batched = [
        tensor.expand(size, *tensor.shape) if axis is None else tensor.movedim(axis, 0)
        for tensor, axis in zip(tensors, in_dims, strict=False)
    ]
    if in_dims[2] is not None:
        return torch.stack([function.apply(*each, problem) for each in zip(*batched, strict=True)])
    rows = [tensor.flatten(0, 1) for tensor in batched]
    rows[2] = tensors[2]
    found = function.apply(*rows, problem)
    return found.unflatten(0, batched[0].shape[:2])
