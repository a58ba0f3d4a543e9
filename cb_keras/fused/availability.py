"""Whether the fused op can be used in this process, in words; and building what it needs."""

import pathlib
from typing import Any

import keras

from cb_keras.fused import core, doors, library
from cb_keras.fused.errors import FusedOpError


def available() -> bool:
    """Whether the op can be used in this process, on eager tensors and in graphs."""
    return _find()[0] is not None


def status() -> str:
    """One line: whether the op is in use and why."""
    module, why = _find()
    return f"fused op: {'in use' if module else 'not in use'}: {why}"


def parts() -> list[str]:
    """A line for each native library: which it is, or why there is none."""
    lines = []
    if keras.backend.backend() == "tensorflow":  # first, for it chooses the core
        module, why = library.find()
        lines.append(f"TensorFlow's ops: {'loaded' if module else 'not there'}: {why}")
    found, why = core.loaded()
    return [f"core library: {'loaded' if found else 'not there'}: {why}", *lines]


def compiles() -> bool:
    """Whether XLA can call the op in this process: on TensorFlow `jit_compile=True`, on JAX jit."""
    if not available():
        return False
    if keras.backend.backend() == "tensorflow":
        return library.compiles()
    return keras.backend.backend() == "jax"


def load() -> None:
    """Loads the op, so that a SavedModel which holds it can be loaded.

    Raises:
        FusedOpError: The op can't be used in this process; says why.
    """
    if not available():
        raise FusedOpError(f"the fused op can't be loaded: {_find()[1]}.")


def build() -> pathlib.Path:
    """Builds what the op needs on Keras' backend, if it is not built yet.

    Several processes may call it at once: one builds, the others wait for it. Libraries that older
    versions left in the cache stay, since another environment may use them; they may be deleted.

    Returns:
        Path of the library: on TensorFlow that of its ops, else of the core.

    Raises:
        FusedOpError: There is no compiler, or it failed, or the cache can't be used.
    """
    return library.build() if keras.backend.backend() == "tensorflow" else core.build()


def _find() -> tuple[Any, str]:
    """`(what calls the op or None, why)`."""
    door, why = doors.find()
    if door is None:
        return None, why
    if keras.backend.backend() == "tensorflow":
        return library.find()
    found = core.find()
    reason = door.why_not("float32") if found[0] is not None else None
    return (None, reason) if reason else found
