"""The core's functions as JAX calls them, by XLA's foreign function interface (FFI).

Each works on whole rows, so that on several devices it works on the rows that a device has.
"""

import functools
import pathlib
import re
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from cb_keras.fused import core
from cb_keras.fused.kinds import KINDS, Form

# Names of the targets -> those of their handlers, of ops/xla/handlers.cc, after the prefix.
_TARGETS = {
    "cb_keras_loss": "Loss",
    "cb_keras_loss_and_gradient": "LossAndGradient",
    "cb_keras_scale_rows": "ScaleRows",
}
# JAX's name of a platform -> XLA's, and what the names of its handlers start with.
_PLATFORMS = {"cpu": ("cpu", "CbkXla"), "cuda": ("CUDA", "CbkXlaCuda")}
_registering = threading.Lock()


def register() -> tuple[set[str], str]:
    """Tells XLA of the handlers, once a process.

    Returns:
        The platforms that they are for, of "cpu" and "cuda", and why there are none.
    """
    library, why = core.find()
    if library is None:
        return set(), why
    try:
        return _register(library)
    except Exception as error:  # any: the losses then use keras.ops and must not fail
        return set(), f"XLA does not take its handlers ({type(error).__name__}: {error})"


@functools.cache
def _register(library: Any) -> tuple[set[str], str]:
    own = divmod(library.CbkXlaApiVersion(), 1000)
    theirs = _api_version()
    if theirs is None:
        return (
            set(),
            "the version of XLA's FFI in this jaxlib is not known: its headers are missing",
        )
    # A backend does not start at all where a handler of a newer API is registered.
    if own[0] != theirs[0] or own[1] > theirs[1]:
        return set(), (
            f"its handlers are of XLA's FFI {own[0]}.{own[1]}, this jaxlib takes those of "
            f"{theirs[0]}.0 to {theirs[0]}.{theirs[1]}; install a newer jaxlib"
        )
    platforms = set()
    with _registering:
        for platform, (name_in_xla, prefix) in _PLATFORMS.items():
            for target, name in _TARGETS.items():
                handler = getattr(library, f"{prefix}{name}", None)
                if handler is not None:
                    capsule = jax.ffi.pycapsule(handler)
                    jax.ffi.register_ffi_target(target, capsule, platform=name_in_xla)
                    platforms.add(platform)
    return platforms, ""


def _api_version() -> tuple[int, int] | None:
    """Major and minor version of the FFI of the installed jaxlib, which its headers tell."""
    header = pathlib.Path(jax.ffi.include_dir(), "xla/ffi/api/c_api.h")
    try:
        text = header.read_text(encoding="utf-8")
    except OSError:
        return None
    major, minor = (
        re.search(rf"#define XLA_FFI_API_{part} (\d+)", text) for part in ("MAJOR", "MINOR")
    )
    return (int(major[1]), int(minor[1])) if major and minor else None


def losses(logits: Any, labels: Any, weights: Any, form: Form, gamma: float) -> Any:
    """Losses `[N]` of logits `[N, C]`, labels `[N]` or `[N, C]` and class weights `[C]`."""
    return _losses(form, gamma, labels.ndim)(logits, labels, weights)


def losses_and_gradient(
    logits: Any, labels: Any, weights: Any, upstream: Any, form: Form, gamma: float
) -> tuple[Any, Any]:
    """Losses `[N]`, and the gradient `[N, C]` of their sum times upstream, `[N]` or `[]`."""
    call = _losses_and_gradient(form, gamma, labels.ndim, upstream.ndim)
    return call(logits, labels, weights, upstream)


def scaled_rows(values: Any, upstream: Any, applied: Any) -> Any:
    """Rows `[N, C]` times `upstream / applied`, in place where nothing else needs the values."""
    return _scaled_rows(applied.ndim)(values, upstream, applied)


@functools.cache
def _losses(form: Form, gamma: float, label_dims: int) -> Callable[..., Any]:
    attributes = _attributes(form, gamma)

    def call(logits: Any, labels: Any, weights: Any) -> Any:
        result = jax.ShapeDtypeStruct(logits.shape[:1], jnp.float32)
        return jax.ffi.ffi_call("cb_keras_loss", result)(logits, labels, weights, **attributes)

    return _by_rows(call, (2, label_dims, _of_classes(form)), (1,))


@functools.cache
def _losses_and_gradient(
    form: Form, gamma: float, label_dims: int, upstream_dims: int
) -> Callable[..., Any]:
    attributes = _attributes(form, gamma)

    def call(logits: Any, labels: Any, weights: Any, upstream: Any) -> Any:
        results = (
            jax.ShapeDtypeStruct(logits.shape[:1], jnp.float32),
            jax.ShapeDtypeStruct(logits.shape, logits.dtype),
        )
        function = jax.ffi.ffi_call("cb_keras_loss_and_gradient", results)
        return tuple(function(logits, labels, weights, upstream, **attributes))

    return _by_rows(call, (2, label_dims, _of_classes(form), upstream_dims), (1, 2))


@functools.cache
def _scaled_rows(applied_dims: int) -> Callable[..., Any]:
    def call(values: Any, upstream: Any, applied: Any) -> Any:
        result = jax.ShapeDtypeStruct(values.shape, values.dtype)
        function = jax.ffi.ffi_call("cb_keras_scale_rows", result, input_output_aliases={0: 0})
        return function(values, upstream, applied)

    return _by_rows(call, (2, 1, applied_dims), (2,))


def _attributes(form: Form, gamma: float) -> dict[str, Any]:
    return {
        "loss": np.int64(list(KINDS).index(form.kind)),
        "gamma": np.float32(gamma),
        "label_smoothing": np.float32(form.label_smoothing),
        "ignores": np.int64(form.ignore_class is not None),
        "ignore_class": np.int64(form.ignore_class or 0),
        "adjusts": np.int64(form.adjusts),
    }


def _of_classes(form: Form) -> str:
    """The axes of the class weights."""
    return "k c" if form.adjusts else "c"


def _by_rows(
    call: Callable[..., Any], arguments: tuple[int | str, ...], results: tuple[int, ...]
) -> Callable[..., Any]:
    """`call`, which on several devices works on the rows that each has.

    Args:
        call: A function of arrays.
        arguments: Number of dimensions of each, the first of which is that of the rows; names of
            axes for the class weights, which each device has whole.
        results: The same of what it returns.
    """
    partitioned = custom_partitioning(call)

    def shardings(mesh: Any, arg_shapes: Any) -> tuple[Any, Any]:
        spec = getattr(arg_shapes[0].sharding, "spec", None) or (None,)

        def of(dims: int | str) -> Any:
            rows = PartitionSpec(spec[0]) if dims in (1, 2) else PartitionSpec()
            return NamedSharding(mesh, rows)

        of_results = tuple(of(dims) for dims in results)
        of_arguments = tuple(of(dims) for dims in arguments)
        return of_results if len(results) > 1 else of_results[0], of_arguments

    def infer(mesh: Any, arg_shapes: Any, result_shapes: Any) -> Any:
        return shardings(mesh, arg_shapes)[0]

    def partition(mesh: Any, arg_shapes: Any, result_shapes: Any) -> Any:
        of_results, of_arguments = shardings(mesh, arg_shapes)
        return mesh, call, of_results, of_arguments

    names = {0: "", 1: "n", 2: "n c"}
    rule = " -> ".join(
        ", ".join(dims if isinstance(dims, str) else names[dims] for dims in each)
        for each in (arguments, results)
    )
    partitioned.def_partition(partition, infer_sharding_from_operands=infer, sharding_rule=rule)
    return partitioned
