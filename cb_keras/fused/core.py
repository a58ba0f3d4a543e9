"""Finding, building and loading the core library: the kernels, without any framework."""

import ctypes
import functools
import pathlib
from typing import Any

from cb_keras.fused import cache
from cb_keras.fused.errors import FusedOpError
from cb_keras.fused.sources import BUILD_COMMAND, MISSING, PACKAGE, builder, printable

_in_use: list[tuple[Any, str]] = []  # what `find` returns from the time that it has a library


def find() -> tuple[Any, str]:
    """`(the library as a ctypes.CDLL or None, why)`, of this process.

    Its functions are those of ops/class_balanced_loss.h. Loading it needs no framework and no GPU.
    """
    if _in_use:
        return _in_use[0]
    found = _find()
    if found[0] is not None:
        _in_use.append(found)
    return found


def build() -> pathlib.Path:
    """Builds the core library into the cache, if it is not built yet.

    Several processes may call it at once: one builds, the others wait for it.

    Returns:
        Path of the library.

    Raises:
        FusedOpError: There is no compiler, or it failed, or the cache can't be used.
    """
    ops = builder()
    if ops is None:
        raise FusedOpError(f"the core library can't be built: {MISSING}")
    try:
        library = cache.build(ops, ops.Core.find())
    except (ops.compilers.BuildError, cache.CacheError, OSError) as error:
        raise FusedOpError(f"the core library can't be built: {error}") from error
    if not _in_use:  # a loaded library stays
        _find.cache_clear()
    return library


@functools.cache
def _find() -> tuple[Any, str]:
    try:
        library, why = _first_that_loads()
    except Exception as error:  # any: the losses then use keras.ops and must not fail
        library, why = None, f"looking for it failed ({type(error).__name__}: {error})"
    return library, printable(why)


def _first_that_loads() -> tuple[Any, str]:
    ops = builder()
    if ops is None:
        return None, MISSING
    wanted = {
        "part": "core",
        "sources": ops.core_digest(),
        "sanitizers": ops.compilers.sanitizers(),
    }
    libraries, reasons = cache.libraries(ops, PACKAGE / ops.CORE, wanted)
    if not libraries:
        return None, "; ".join([f"it is not built; {BUILD_COMMAND} builds it", *reasons])
    libraries.sort(key=lambda item: item[1]["cuda"] is None)  # with CUDA first: it does both
    for path, description in libraries:
        try:
            library = _declared(ctypes.CDLL(str(path)))
        except Exception as error:
            reasons.append(f"{path} can't be loaded: {error}")
            continue
        kernels = library.CbkCpuInstructionSet().decode()
        with_cuda = f"CUDA {description['cuda']}" if description["cuda"] else "no CUDA"
        return library, f"{path} (CPU kernels: {kernels}; {with_cuda})"
    return None, "; ".join(reasons)


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
