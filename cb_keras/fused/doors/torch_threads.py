"""The threads among which the kernels share a loop on the CPU: those of PyTorch's OpenMP.

They spin for some milliseconds after each of PyTorch's loops, on every processor: threads of the
core's own would wait for them.
"""

import contextlib
import ctypes
import functools
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch

from cb_keras._forks import is_child
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
    process that was forked after this package was imported: OpenMP would wait there forever for the
    threads of its parent, as the large operations of PyTorch do.
    """
    return _team(torch.get_num_threads(), is_child())


@functools.lru_cache(maxsize=64)
def _team(threads: int, is_child: bool) -> Team:
    parallel = None if is_child or os.environ.get("CB_KERAS_THREADS") else _openmp()
    if parallel is None:
        return Team(None, ctypes.byref(ctypes.c_int64(threads)))
    function = ctypes.cast(core.find()[0].CbkForOfOpenMp, ctypes.c_void_p).value
    return Team(function, ctypes.byref(_OpenMp(parallel, threads)))


def _openmp() -> int | None:
    """Address of GOMP_parallel of the library that PyTorch calls, if it has it."""
    path = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    # As PyTorch itself finds it: what was loaded for all comes first, such as another OpenMP that
    # is preloaded, and then what it was linked with.
    for where, mode in ((None, ctypes.DEFAULT_MODE), (str(path), os.RTLD_LAZY | os.RTLD_NOLOAD)):
        with contextlib.suppress(OSError, AttributeError):
            found = ctypes.CDLL(where, mode=mode).GOMP_parallel
            return ctypes.cast(found, ctypes.c_void_p).value
    return None
