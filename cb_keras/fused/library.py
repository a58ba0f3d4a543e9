"""Finding, building and loading the library of TensorFlow's ops."""

import contextlib
import ctypes
import functools
import os
import pathlib
import threading
from typing import Any

import keras

from cb_keras.fused import cache, core, gradients
from cb_keras.fused.errors import FusedOpError
from cb_keras.fused.sources import BUILD_COMMAND, MISSING, PACKAGE, builder, printable

_registering = threading.Lock()
_in_use: list[tuple[Any, str]] = []  # what `find` returns from the time that it has a module
_FOR_XLA_ON_CPU, _FOR_XLA_ON_CUDA = 1, 2


def build() -> pathlib.Path:
    """Builds the op library for the installed TensorFlow, and its core, if they are not built yet.

    Several processes may call it at once: one builds, the others wait for it.

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
    path = core.build()
    try:
        library = cache.build(ops, ops.Toolchain.find(tf, path))
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

    found = _find(on_gpu())  # those that are hidden don't count
    if found[0] is not None:
        _in_use.append(found)
    return found


def on_gpu() -> bool:
    """Whether TensorFlow may run the op on a GPU."""
    import tensorflow as tf

    return bool(tf.config.get_visible_devices("GPU"))


def compiles() -> bool:
    """Whether the op that is in use can be compiled by XLA, for each device that it may run on."""
    return bool(_in_use[0][0].for_xla & (_FOR_XLA_ON_CUDA if on_gpu() else _FOR_XLA_ON_CPU))


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
    libraries, reasons = _of_this_tensorflow(tf.__version__)
    if not libraries:
        missing = f"it is not built for TensorFlow {tf.__version__}; {BUILD_COMMAND} builds it"
        return None, "; ".join([missing, *reasons])
    if gpu:  # there it must have CUDA kernels
        reasons += [
            f"there is a GPU, but {path} was built without nvcc; put nvcc on PATH and run "
            f"{BUILD_COMMAND}"
            for path, description in libraries
            if not description["cuda"]
        ]
        libraries = [item for item in libraries if item[1]["cuda"]]
        if not libraries:
            return None, "; ".join(reasons)
    kernels, why = core.loaded(frozenset(known["interface"] for _, known in libraries))
    if kernels is None:
        return None, "; ".join([f"its core library can't be used: {why}", *reasons])
    for library, description in libraries:
        if description["interface"] != kernels.description["interface"]:
            reasons.append(
                f"{library} was built for another core library than {kernels.path}; "
                f"{BUILD_COMMAND} builds one for this"
            )
            continue
        module, why = _open(library, kernels.details)
        if module is not None:
            return module, why
        reasons.append(why)
    return None, "; ".join(reasons)


def _open(library: pathlib.Path, details: str) -> tuple[Any, str]:
    """`(module of the ops or None, why)` of one library, whose core is loaded."""
    import tensorflow as tf

    try:
        module = tf.load_op_library(os.fsencode(library))
        shared = ctypes.CDLL(str(library))
    except Exception as error:
        return None, f"{library} can't be loaded: {error}"
    # Once, by one of several threads, and not again where this module was imported again.
    with _registering, contextlib.suppress(KeyError):
        gradients.register(module)
    # A library for a TensorFlow whose XLA is not known has no such function.
    module.for_xla = shared.CbkTensorflowXla() if hasattr(shared, "CbkTensorflowXla") else 0
    return module, f"{library} ({details}{'' if module.for_xla else ', no XLA'})"


def _of_this_tensorflow(version: str) -> tuple[list[cache.Library], list[str]]:
    """The libraries for a TensorFlow and these sources, and why others were left out.

    A library with sanitizers is only for processes that ask for the same sanitizers.
    """
    ops = builder()
    wanted = {
        "part": "tensorflow",
        "tensorflow": version,
        "sources": ops.shim_digest(),
        "sanitizers": ops.compilers.sanitizers(),
    }
    return cache.libraries(ops, PACKAGE / ops.LIBRARY, wanted)
