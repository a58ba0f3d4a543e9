"""The threads among which the kernels share a loop on the CPU: those of PyTorch's OpenMP.

They spin for some milliseconds after each of PyTorch's loops, on every processor: threads of the
core's own would wait for them.
"""

import ctypes
import functools
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch

from cb_keras.fused import core


class Team(NamedTuple):
    """What the core's functions are called with: how a loop is shared, and among whom."""

    parallel_for: int | None
    pool: Any


class _OpenMp(ctypes.Structure):
    """CbkOpenMp of ops/class_balanced_loss.h."""

    _fields_ = [("parallel", ctypes.c_void_p), ("threads", ctypes.c_int64)]


def team() -> Team:
    """As many threads as PyTorch has.

    The core's own where `CB_KERAS_THREADS` gives it some, where PyTorch has no OpenMP, and in a
    forked process, in which OpenMP waits forever for the threads of its parent.
    """
    return _team(torch.get_num_threads())


@functools.lru_cache(maxsize=64)
def _team(threads: int) -> Team:
    parallel = _openmp()
    if parallel is None:
        return Team(None, ctypes.byref(ctypes.c_int64(threads)))
    function = ctypes.cast(core.find()[0].CbkForOfOpenMp, ctypes.c_void_p).value
    return Team(function, ctypes.byref(_OpenMp(parallel, threads)))


def _openmp() -> int | None:
    """Address of GOMP_parallel of the library that PyTorch is linked with, if it has it."""
    if _is_child or os.environ.get("CB_KERAS_THREADS"):
        return None
    path = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        loaded = ctypes.CDLL(str(path), mode=os.RTLD_LAZY | os.RTLD_NOLOAD)
        return ctypes.cast(loaded.GOMP_parallel, ctypes.c_void_p).value
    except (OSError, AttributeError):
        return None


_is_child = False


def _leave_openmp() -> None:
    global _is_child
    _is_child = True
    _team.cache_clear()


os.register_at_fork(after_in_child=_leave_openmp)
