"""Finding, building and loading the library of TensorFlow's ops."""

import contextlib
import ctypes
import functools
import os
import pathlib
import threading
from typing import Any

import keras

from cb_keras.fused import cache, gradients
from cb_keras.fused.errors import FusedOpError
from cb_keras.fused.sources import BUILD_COMMAND, MISSING, PACKAGE, builder, printable

_registering = threading.Lock()
_in_use: list[tuple[Any, str]] = []  # what `find` returns from the time that it has a module


def build() -> pathlib.Path:
    """Builds the op library for the installed TensorFlow, if it is not built yet.

    Several processes may call it at once: one builds, the others wait for it. Libraries that older
    versions left in the cache stay, since another environment may use them; they may be deleted.

    Returns:
        Path of the library.

    Raises:
        FusedOpError: There is no compiler, or it failed, or the cache can't be used.
    """
    try:
        import tensorflow as tf

        ops = builder()
    except (ImportError, OSError) as error:
        raise FusedOpError(f"the fused op can't be built: {error}") from error
    if ops is None:
        raise FusedOpError(f"the fused op can't be built: {MISSING}")
    try:
        library = cache.build(ops, ops.Toolchain.find(tf))
    except (ops.compilers.BuildError, cache.CacheError, OSError) as error:
        raise FusedOpError(f"the fused op can't be built: {error}") from error
    if find()[0] is None:  # a loaded library stays: TensorFlow can't take another of its ops
        _find.cache_clear()
    return library


def find() -> tuple[Any, str]:
    """`(module of the ops or None, why)`, of this process."""
    if _in_use:
        return _in_use[0]
    if keras.backend.backend() != "tensorflow":
        return None, f"Keras runs on {keras.backend.backend()}, the op is TensorFlow's"
    import tensorflow as tf

    found = _find(bool(tf.config.get_visible_devices("GPU")))  # those that are hidden don't count
    if found[0] is not None:
        _in_use.append(found)
    return found


@functools.cache
def _find(gpu: bool) -> tuple[Any, str]:
    try:
        module, why = _first_that_loads(gpu)
    except Exception as error:  # any: the losses then use keras.ops and must not fail
        module, why = None, f"looking for it failed ({type(error).__name__}: {error})"
    return module, printable(why)


def _first_that_loads(gpu: bool) -> tuple[Any, str]:
    import tensorflow as tf

    if builder() is None:
        return None, MISSING
    libraries, reasons = _matching_libraries(tf.__version__)
    if not libraries:
        missing = f"it is not built for TensorFlow {tf.__version__}; {BUILD_COMMAND} builds it"
        return None, "; ".join([missing, *reasons])
    # Any will do on the CPU; on a GPU one with CUDA kernels must.
    libraries.sort(key=lambda item: bool(item[1]["cuda"]) != gpu)
    for library, description in libraries:
        if gpu and not description["cuda"]:
            reasons.append(
                f"there is a GPU, but {library} was built without nvcc; put nvcc on PATH and run "
                f"{BUILD_COMMAND}"
            )
            continue
        module, why = _open(library, description["cuda"])
        if module is not None:
            return module, why
        reasons.append(why)
    return None, "; ".join(reasons)


def _open(library: pathlib.Path, cuda: str | None) -> tuple[Any, str]:
    """`(module of the ops or None, why)` of one library."""
    import tensorflow as tf

    try:
        module = tf.load_op_library(os.fsencode(library))
        function = ctypes.CDLL(str(library)).CbkCpuInstructionSet
    except Exception as error:
        return None, f"{library} can't be loaded: {error}"
    # Once, by one of several threads, and not again where this module was imported again.
    with _registering, contextlib.suppress(KeyError):
        gradients.register(module)
    function.restype = ctypes.c_char_p
    with_cuda = f"CUDA {cuda}" if cuda else "no CUDA"
    return module, f"{library} (CPU kernels: {function().decode()}; {with_cuda})"


def _matching_libraries(tensorflow_version: str) -> tuple[list[cache.Library], list[str]]:
    """The libraries for this TensorFlow and these sources, and why others were left out.

    A library with sanitizers is only for processes that ask for the same sanitizers.
    """
    ops = builder()
    wanted = {
        "tensorflow": tensorflow_version,
        "sources": ops.sources_digest(),
        "sanitizers": ops.compilers.sanitizers(),
    }
    return cache.libraries(ops, PACKAGE / ops.LIBRARY, wanted)
