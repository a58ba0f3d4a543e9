"""Finding, building and loading the core library: the kernels, without any framework."""

import ctypes
import functools
import os
import pathlib
import re
from typing import Any, NamedTuple

from cb_keras.fused import cache
from cb_keras.fused.errors import FusedOpError
from cb_keras.fused.sources import BUILD_COMMAND, MISSING, PACKAGE, builder, printable


class Loaded(NamedTuple):
    """The core library of this process.

    Attributes:
        library: The library.
        path: Its file.
        description: What it says of itself, see ops/core.py.
        details: Its kernels, in words.
    """

    library: Any
    path: pathlib.Path
    description: dict[str, Any]
    details: str


_in_use: list[Loaded] = []  # from the time that there is one


def find() -> tuple[Any, str]:
    """`(the library as a ctypes.CDLL or None, why)`, of this process.

    Its functions are those of ops/class_balanced_loss.h. Loading it needs no framework and no GPU.
    """
    found, why = loaded()
    return (found.library if found else None), why


def loaded(interfaces: frozenset[str] = frozenset()) -> tuple[Loaded | None, str]:
    """`(the library with what is known of it or None, why)`, of this process.

    Args:
        interfaces: What to look for first where no library is loaded yet, see ops/core.py: those
            that the caller's own library can use.
    """
    if _in_use:
        return _in_use[0], printable(f"{_in_use[0].path} ({_in_use[0].details})")
    found, why = _find(interfaces)
    if found:
        _in_use.append(found)
    return found, printable(why)


def build() -> pathlib.Path:
    """Builds the core library into the cache, unless there is one, in the package or the cache.

    One without CUDA kernels is not enough where there is nvcc. Several processes may call it at
    once: one builds, the others wait for it.

    Returns:
        Path of the library.

    Raises:
        FusedOpError: There is no compiler, or it failed, or the cache can't be used.
    """
    ops = builder()
    if ops is None:
        raise FusedOpError(f"the fused op can't be built: {MISSING}")
    try:
        cuda = ops.compilers.find_nvcc() is not None
        there = (path for path, known in _matching(ops)[0] if known["cuda"] or not cuda)
        path = next(there, None) or cache.build(ops, ops.Core.find())
    except (ops.compilers.BuildError, cache.CacheError, OSError) as error:
        raise FusedOpError(f"the fused op can't be built: {error}") from error
    if not _in_use:  # a loaded library stays
        _find.cache_clear()
    return path


@functools.cache
def _find(interfaces: frozenset[str]) -> tuple[Loaded | None, str]:
    try:
        return _first_that_loads(interfaces)
    except Exception as error:  # any: the losses then use keras.ops and must not fail
        return None, f"looking for it failed ({type(error).__name__}: {error})"


def _first_that_loads(interfaces: frozenset[str]) -> tuple[Loaded | None, str]:
    ops = builder()
    if ops is None:
        return None, MISSING
    threads = os.environ.get("CB_KERAS_THREADS", "")  # read by the library as it is loaded
    if threads and not re.fullmatch(r"[1-9]\d{0,5}", threads):
        return None, (
            f"`CB_KERAS_THREADS` must be a whole number of threads >= 1, got {threads!r}; unset it "
            "to have one for each processor"
        )
    libraries, reasons = _matching(ops)
    if not libraries:
        return None, "; ".join([f"it is not built; {BUILD_COMMAND} builds it", *reasons])
    libraries.sort(key=lambda item: item[1]["interface"] not in interfaces)
    for path, description in libraries:
        try:
            library = _declared(ctypes.CDLL(str(path)))
        except Exception as error:
            reasons.append(f"{path} can't be loaded: {error}")
            continue
        cuda = f"CUDA {description['cuda']}" if description["cuda"] else "no CUDA"
        details = f"CPU kernels: {library.CbkCpuInstructionSet().decode()}; {cuda}"
        return Loaded(library, path, description, details), f"{path} ({details})"
    return None, "; ".join(reasons)


def _matching(ops: Any) -> tuple[list[cache.Library], list[str]]:
    """The core libraries of these sources, those with CUDA first, and why others were left out.

    A library with sanitizers is only for processes that ask for the same sanitizers.
    """
    wanted = {
        "part": "core",
        "sources": ops.core_digest(),
        "sanitizers": ops.compilers.sanitizers(),
    }
    libraries, reasons = cache.libraries(ops, PACKAGE / ops.CORE, wanted)
    return sorted(libraries, key=lambda item: item[1]["cuda"] is None), reasons


def _declared(library: Any) -> Any:
    """The library, with the types of what its functions take and return."""
    pointer = ctypes.c_void_p
    library.CbkCpuInstructionSet.restype = ctypes.c_char_p
    library.CbkCpuLoss.restype = ctypes.c_int64
    library.CbkCpuLoss.argtypes = [pointer] * 3
    library.CbkCpuScale.restype = None
    library.CbkCpuScale.argtypes = [pointer] * 3
    library.CbkCpuScalesNothing.argtypes = [pointer]
    return library
