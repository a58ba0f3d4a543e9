"""The core library's kernels on tensors of PyTorch, by ctypes."""

import ctypes
import functools
from typing import Any

import torch

from cb_keras.checks import refuse_invalid_class_ids
from cb_keras.fused import core
from cb_keras.fused.doors import torch_memory, torch_threads
from cb_keras.fused.kinds import ADJUSTMENTS, KINDS, Form

FLOATS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
# Of class ids; multi-hot labels are the one form with two axes.
IDS = {torch.int32: 0, torch.int64: 1, torch.uint64: 3, torch.float32: 4, torch.float64: 5}
_MULTI_HOT = 2
_LOSSES = {kind: number for number, kind in enumerate(KINDS)}


class _Problem(ctypes.Structure):
    """CbkProblem of ops/class_balanced_loss.h."""

    _fields_ = [
        ("loss", ctypes.c_int),
        ("float_type", ctypes.c_int),
        ("labels_type", ctypes.c_int),
        ("rows", ctypes.c_int64),
        ("classes", ctypes.c_int64),
        ("logits", ctypes.c_void_p),
        ("labels", ctypes.c_void_p),
        ("class_weights", ctypes.c_void_p),
        ("gamma", ctypes.c_float),
        ("label_smoothing", ctypes.c_float),
        ("ignores", ctypes.c_int),
        ("ignore_class", ctypes.c_int64),
        ("upstream", ctypes.c_void_p),
        ("upstream_is_scalar", ctypes.c_int),
        ("losses", ctypes.c_void_p),
        ("gradient", ctypes.c_void_p),
        ("factor", ctypes.c_void_p),
        ("offset", ctypes.c_void_p),
        ("margin", ctypes.c_void_p),
    ]


class _Scaling(ctypes.Structure):
    """CbkScaling of ops/class_balanced_loss.h."""

    _fields_ = [
        ("float_type", ctypes.c_int),
        ("rows", ctypes.c_int64),
        ("classes", ctypes.c_int64),
        ("upstream", ctypes.c_void_p),
        ("applied", ctypes.c_void_p),
        ("applied_is_scalar", ctypes.c_int),
        ("values", ctypes.c_void_p),
    ]


_POINTER = ctypes.c_void_p
# Functions of the core -> the types of what they return and take.
_TYPES: dict[str, tuple[Any, ...]] = {
    "CbkCpuLoss": (ctypes.c_int64, _POINTER, _POINTER, _POINTER),
    "CbkCpuScale": (None, _POINTER, _POINTER, _POINTER),
    "CbkCpuScalesNothing": (ctypes.c_int, _POINTER),
    "CbkCudaLoss": (ctypes.c_int, _POINTER, _POINTER),
    "CbkCudaScale": (ctypes.c_int, _POINTER, _POINTER),
    "CbkCudaErrorString": (ctypes.c_char_p, ctypes.c_int),
}


@functools.cache
def _function(name: str) -> Any:
    """A function of the core, of its own so that nobody else's types are changed."""
    function = core.find()[0][name]
    function.restype, *function.argtypes = _TYPES[name]
    return function


def has_cuda() -> bool:
    """Whether the core was built with the kernels for CUDA."""
    return hasattr(core.find()[0], "CbkCudaLoss")


def mean_upstream(logits: torch.Tensor) -> float:
    """As `cb_keras.fused.mean_upstream`."""
    return logits.shape[-1] / max(logits.numel(), 1)


def compute(
    form: Form,
    gamma: float,
    logits: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    upstream: float | torch.Tensor | None = None,
    gradient: bool | torch.Tensor = False,
    refuse: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Losses `[N]` and, where it is wanted, their gradient by the logits.

    Args:
        form: The loss, and what is fixed of it.
        gamma: Its focusing parameter, if it has one.
        logits: `[N, C]`, of a type in `FLOATS`, on the CPU or a CUDA device.
        labels: Class ids `[N]`, or float32 `[N, C]`.
        weights: `[C]`, float32; with what the form names after them where it adjusts the logits.
        upstream: Factor of every row's gradient, or float32 `[N]`; None for 1.
        gradient: Whether there is to be one, or the memory for it.
        refuse: Whether a class id that is not a class is an error, on the CPU.
    """
    if weights.shape[-1] != logits.shape[1]:
        raise ValueError(
            f"`class_weights` has {weights.shape[-1]} classes, the logits have {logits.shape[1]}."
        )
    logits, labels, weights = _dense(logits), _dense(labels), _dense(weights)
    device = logits.device
    losses = torch.empty(logits.shape[0], dtype=torch.float32, device=device)
    slope = gradient if isinstance(gradient, torch.Tensor) else None
    if gradient is True:
        slope = torch_memory.empty_like(logits)
    factors, is_scalar = _factors(upstream, device)
    problem = _Problem(
        _LOSSES[form.kind],
        FLOATS[logits.dtype],
        _MULTI_HOT if labels.dim() == 2 else IDS[labels.dtype],
        *logits.shape,
        logits.data_ptr(),
        labels.data_ptr(),
        weights.data_ptr(),
        gamma,
        form.label_smoothing,
        form.ignore_class is not None,
        form.ignore_class or 0,
        _address(factors),
        is_scalar,
        losses.data_ptr(),
        None if slope is None else slope.data_ptr(),
        *(_adjustments(form, weights) if form.adjusts else ()),
    )
    invalid = _call("Loss", problem, device)
    if refuse and invalid >= 0:
        refuse_invalid_class_ids(labels, logits.shape[1], form.ignore_class)
    return losses, slope


def _adjustments(form: Form, arrays: torch.Tensor) -> list[int | None]:
    """Where factors, offsets and margins are, as far as they follow the weights."""
    rows = iter(range(1, arrays.shape[0]))
    return [
        arrays.data_ptr() + next(rows) * arrays.stride(0) * arrays.element_size()
        if form.adjusts & bit
        else None
        for bit in ADJUSTMENTS.values()
    ]


def scale(values: torch.Tensor, upstream: torch.Tensor, applied: float | torch.Tensor) -> bool:
    """Multiplies the rows of `values` [N, C], dense, by upstream [N] / applied, in place.

    `applied` is what `expected_factor` made.

    On the CPU nothing is done to bfloat16 that `upstream` would change, since it would be rounded
    twice; and a scaling that changes nothing costs a look at `upstream`.

    Returns:
        Whether `values` are now those of `upstream`.
    """
    on_cpu = values.device.type == "cpu"
    is_one = upstream.numel() > 0 and not any(upstream.stride())  # of a mean or a sum
    if on_cpu and is_one and _float_at(upstream.data_ptr()) == applied:
        return True
    upstream = _dense(upstream)
    factors, _ = _factors(applied, values.device)
    scaling = _Scaling(
        FLOATS[values.dtype],
        *values.shape,
        upstream.data_ptr(),
        _address(factors),
        True,
        values.data_ptr(),
    )
    if on_cpu:
        if _function("CbkCpuScalesNothing")(ctypes.byref(scaling)):
            return True
        if values.dtype != torch.float32:
            return False
    _call("Scale", scaling, values.device)
    return True


def equals_one(number: torch.Tensor) -> bool:
    """Whether a float32 tensor of one number is 1, as far as that is known without waiting."""
    is_plain = type(number) is torch.Tensor and number.dtype == torch.float32
    return is_plain and number.device.type == "cpu" and _float_at(number.data_ptr()) == 1.0


def expected_factor(number: float, device: torch.device) -> float | torch.Tensor:
    """The number as the kernels of the device see it."""
    if device.type == "cpu":
        return ctypes.c_float(number).value
    return torch.full((), number, dtype=torch.float32, device=device)


def _call(name: str, what: ctypes.Structure, device: torch.device) -> int:
    """Runs `CbkCpu{name}` or `CbkCuda{name}`.

    Returns:
        On the CPU what it returns, on CUDA -1.
    """
    if device.type == "cpu":
        return _function(f"CbkCpu{name}")(ctypes.byref(what), *torch_threads.team())
    function = _function(f"CbkCuda{name}")
    if device.index == torch.cuda.current_device():
        error = function(ctypes.byref(what), torch.cuda.current_stream(device).cuda_stream)
    else:
        with torch.cuda.device(device):
            error = function(ctypes.byref(what), torch.cuda.current_stream(device).cuda_stream)
    if error:
        words = _function("CbkCudaErrorString")(error)
        raise RuntimeError(f"the fused op failed on {device}: {words.decode()}")
    return -1


def _dense(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor whose memory is as its shape says, each number at a multiple of its size."""
    if not tensor.is_contiguous() or tensor.is_neg():
        tensor = tensor.detach().contiguous().resolve_neg()
    return tensor.detach().clone() if tensor.data_ptr() % tensor.element_size() else tensor


def _factors(factor: float | torch.Tensor | None, device: torch.device) -> tuple[Any, bool]:
    """Memory that holds the factors, where the kernels can read it, and whether it is one."""
    if factor is None:
        return None, True
    if not isinstance(factor, torch.Tensor):
        if device.type == "cpu":
            return ctypes.c_float(factor), True
        return torch.full((), factor, dtype=torch.float32, device=device), True
    if factor.dim() == 1 and factor.numel() and not any(factor.stride()):
        return factor.detach()[:1].contiguous(), True
    return _dense(factor), factor.dim() == 0


def _address(memory: Any) -> int | None:
    if memory is None:
        return None
    if isinstance(memory, torch.Tensor):
        return memory.data_ptr()
    return ctypes.addressof(memory)


def _float_at(address: int) -> float:
    return ctypes.c_float.from_address(address).value
