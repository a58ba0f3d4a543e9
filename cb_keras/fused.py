"""Door to the fused op: finds it, builds it, says why not. It is never required.

`python -m cb_keras.fused status` says in one line whether the op is in use and why;
`python -m cb_keras.fused build` builds it for this machine's TensorFlow. The library is looked for
next to the package, where `pip install` puts it if there is a C++ compiler, and in the folder of
`cb_keras.fused_cache`, `$CB_KERAS_CACHE` or `~/.cache/cb_keras`, where `build` puts it.

A graph that holds the op loads only in a process that has it. What is traced for a SavedModel or an
export takes keras.ops instead, but a concrete function is saved as it was traced: give a loss that
goes into one `fused=False`, or call `cb_keras.fused.load()` before `tf.saved_model.load`.
"""

import contextlib
import ctypes
import functools
import importlib.util
import os
import pathlib
import sys
import threading
from typing import Any, Literal

import keras
from numpy.typing import ArrayLike

from cb_keras import fused_cache, fused_gradients, fused_tracing
from cb_keras.checks import check_gamma, check_labels
from cb_keras.counts import ByClass, weights_tensor

_PACKAGE = pathlib.Path(__file__).parent
_NO_SOURCES = "its sources are not there; install cb_keras again, or take it from a clone"
Kind = Literal["softmax", "sigmoid", "focal"]

_BUILD_COMMAND = "python -m cb_keras.fused build"
_registering = threading.Lock()
_in_use: list[tuple[Any, str]] = []  # what `_load` returns from the time that it has a module


class FusedOpError(Exception):
    """The fused op was insisted on and can't be used; the message says why."""


def available() -> bool:
    """Whether the op can be used in this process, on eager tensors and in graphs."""
    return _load()[0] is not None


def status() -> str:
    """One line: whether the op is in use and why."""
    module, why = _load()
    return f"fused op: {'in use' if module else 'not in use'}: {why}"


def load() -> None:
    """Loads the op, so that a SavedModel which holds it can be loaded.

    Raises:
        FusedOpError: The op can't be used in this process; says why.
    """
    if not available():
        raise FusedOpError(f"the fused op can't be loaded: {_load()[1]}.")


def build() -> pathlib.Path:
    """Builds the op library for the installed TensorFlow, if it is not built yet.

    Several processes may call it at once: one builds, the others wait for it. Libraries that older
    versions left in the cache stay, since another environment may use them; delete them at will.

    Returns:
        Path of the library.

    Raises:
        FusedOpError: There is no compiler, or it failed, or the cache can't be used.
    """
    try:
        import tensorflow as tf

        builder = _builder()
    except (ImportError, OSError) as error:
        raise FusedOpError(f"the fused op can't be built: {error}") from error
    if builder is None:
        raise FusedOpError(f"the fused op can't be built: {_NO_SOURCES}")
    try:
        library = fused_cache.build(builder, builder.Toolchain.find(tf))
    except (builder.BuildError, fused_cache.CacheError, OSError) as error:
        raise FusedOpError(f"the fused op can't be built: {error}") from error
    if not available():  # a loaded library stays: TensorFlow can't take another of its ops
        _find.cache_clear()
    return library


def crossentropy(
    loss: Kind,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    class_weights: ByClass,
    gamma: float = 0.0,
    expected_upstream: Any = 1.0,
) -> Any:
    """Class-balanced loss per example, with its gradient, in one pass over the logits.

    Same values as `cb_keras.functional`, to float32 rounding. The gradient by `y_pred` is the op's
    own; those by soft labels and by `class_weights`, and all higher derivatives, are computed from
    the formulas in `cb_keras.functional` where somebody asks for them.

    Args:
        loss: `"softmax"`, `"sigmoid"` or `"focal"`.
        y_true: Class ids `[...]` or `[..., 1]`; for sigmoid and focal also `[..., C]`.
        y_pred: Logits `[..., C]`, float32, bfloat16 or float16.
        class_weights: `[C]`.
        gamma: Focusing parameter of the focal loss, a finite float >= 0.
        expected_upstream: Scalar. Where the gradient that later arrives at every loss is this
            one, the backward pass returns the stored gradient unchanged; where it is not, it scales
            the rows (float32) or computes them again (bfloat16, which would be rounded twice).

    Returns:
        Loss per example, float32 `[...]`.

    Raises:
        FusedOpError: `why_not` names a reason.
        ValueError: Shapes that do not fit together.
        tf.errors.InvalidArgumentError: On the CPU, a class id that is outside `[0, C)` or no whole
            number, by position and value. On a GPU its example's loss and gradient are NaN.
    """
    import tensorflow as tf

    labels, logits = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
    weights = weights_tensor("class_weights", class_weights)
    sparse = check_labels(labels, logits, weights.shape[0])
    reason = why_not(loss, sparse, logits.dtype.name)
    if reason:
        raise FusedOpError(f"the fused op can't be used: {reason}.")
    gamma = check_gamma(gamma) if loss == "focal" else 0.0
    return prepared(loss, labels, logits, weights, gamma, expected_upstream, sparse)


def prepared(
    kind: Kind,
    labels: Any,
    logits: Any,
    class_weights: Any,
    gamma: float,
    expected_upstream: Any,
    sparse: bool,
) -> Any:
    """`crossentropy` of tensors that have been checked; labels are ids where `sparse`."""
    import tensorflow as tf

    weights = tf.cast(class_weights, tf.float32)
    labels = _class_ids(labels) if sparse else tf.cast(labels, tf.float32)
    num_classes = logits.shape[-1]
    rows = _reshaped(logits, [-1, num_classes])
    labels = _reshaped(labels, [-1] if sparse else [-1, num_classes])
    gamma = tf.constant(gamma, tf.float32)
    losses = _crossentropy(kind, labels, rows, weights, gamma, expected_upstream)
    if len(logits.shape) == 2:
        return losses
    return tf.ensure_shape(tf.reshape(losses, tf.shape(logits)[:-1]), logits.shape[:-1])


def why_not(loss: Kind, sparse: bool, dtype: str, from_logits: bool = True) -> str | None:
    """Why the op can't be used here and now, or None if it can.

    Args:
        loss: `"softmax"`, `"sigmoid"` or `"focal"`.
        sparse: Whether the labels are class ids.
        dtype: Name of the logits' dtype.
        from_logits: Whether the predictions are logits.
    """
    module, why = _load()
    if module is None:
        return why
    if not from_logits:
        return "it takes logits, not probabilities"
    if not sparse and loss == "softmax":
        return "its softmax loss takes class ids, not one-hot labels"
    if dtype not in ("float32", "bfloat16", "float16"):
        return f"it has no kernel for {dtype} logits"
    if fused_tracing.inside_xla():
        return "XLA compiles this function and can't call it (jit_compile)"
    if fused_tracing.being_exported():
        return "this is being exported, and would load only where the op has been loaded before"
    return None


def mean_upstream(y_pred: Any) -> Any:
    """What each loss of `y_pred` [..., C] gets from their mean, and from nothing else."""
    import tensorflow as tf

    # As Keras does, so that the two are equal to the last bit: by the number, then the replicas.
    number = tf.size(y_pred, out_type=tf.int64) // y_pred.shape[-1]
    mean = 1.0 / tf.cast(number, tf.float32)
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return mean / replicas if replicas > 1 else mean


def _crossentropy(
    loss: Kind, labels: Any, logits: Any, weights: Any, gamma: Any, expected_upstream: Any
) -> Any:
    import tensorflow as tf

    module = _load()[0]
    # float16 can't hold a gradient before the loss scale is in it: its gradient is computed in
    # the backward pass, where the upstream gradient is known. So it is where nobody is recording.
    if not _recording() or logits.dtype == tf.float16:
        return module.cb_keras_loss(logits, labels, weights, gamma, loss=loss)
    applied = tf.cast(expected_upstream, tf.float32)
    # In a graph it is not known who will ask; what nobody asks for is pruned there.
    others = not tf.executing_eagerly() or _watched(labels, weights)
    soft_labels = [labels] if labels.dtype.is_floating else []

    @tf.custom_gradient
    def with_gradient(logits: Any, weights: Any, *soft_labels: Any) -> Any:
        inputs = (logits, soft_labels[0] if soft_labels else labels, weights, gamma)
        losses, gradient = module.cb_keras_loss_and_gradient(*inputs, applied, loss=loss)

        def backward(upstream: Any) -> tuple[Any, ...]:
            def again() -> Any:
                return module.cb_keras_loss_and_gradient(*inputs, upstream, loss=loss)[1]

            if logits.dtype == tf.float32:
                slope = module.cb_keras_scale_rows(gradient, upstream, applied)
            else:
                slope = tf.cond(tf.reduce_all(upstream == applied), lambda: gradient, again)
            by_others = (None, None)
            if others:
                arguments = (module, loss, inputs, upstream)
                by_others = fused_gradients.by_weights_and_labels(*arguments)
            return slope, *by_others[: 1 + len(soft_labels)]

        return losses, backward

    return with_gradient(logits, weights, *soft_labels)


def _watched(*tensors: Any) -> bool:
    """Whether a tape or a forward accumulator may want derivatives by any of these."""
    from tensorflow.python.ops import gradients_util

    nobody = gradients_util.POSSIBLE_GRADIENT_TYPES_NONE
    return gradients_util.PossibleTapeGradientTypes(list(tensors)) != nobody


def _class_ids(labels: Any) -> Any:
    """Labels in a type that the op reads, without any change to their values."""
    import tensorflow as tf

    if labels.dtype in (tf.int32, tf.int64, tf.uint64, tf.float32, tf.float64):
        return labels
    return tf.cast(labels, tf.int64 if labels.dtype == tf.uint32 else tf.int32)


def _reshaped(tensor: Any, shape: list[int]) -> Any:
    """`tensor` in `shape`; itself where it has that rank already, since every op costs time."""
    import tensorflow as tf

    return tensor if len(tensor.shape) == len(shape) else tf.reshape(tensor, shape)


def _recording() -> bool:
    from tensorflow.python.eager import record

    return record.could_possibly_record()


def _load() -> tuple[Any, str]:
    """`(module of the ops or None, why)`."""
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
    except Exception as error:  # whatever it is: no loss may fail of it, keras.ops is there
        module, why = None, f"looking for it failed ({type(error).__name__}: {error})"
    return module, _printable(why)


def _printable(text: str) -> str:
    """The text with what is not UTF-8 (in a path) as escapes: it could not be printed."""
    return text.encode(errors="backslashreplace").decode()


def _first_that_loads(gpu: bool) -> tuple[Any, str]:
    import tensorflow as tf

    if _builder() is None:
        return None, _NO_SOURCES
    libraries, reasons = _matching_libraries(tf.__version__)
    if not libraries:
        missing = f"it is not built for TensorFlow {tf.__version__}; {_BUILD_COMMAND} builds it"
        return None, "; ".join([missing, *reasons])
    # Any will do on the CPU; on a GPU one with CUDA kernels must.
    libraries.sort(key=lambda item: bool(item[1]["cuda"]) != gpu)
    for library, description in libraries:
        if gpu and not description["cuda"]:
            reasons.append(
                f"there is a GPU, but {library} was built without nvcc; put nvcc on PATH and run "
                f"{_BUILD_COMMAND}"
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
        fused_gradients.register(module)
    function.restype = ctypes.c_char_p
    with_cuda = f"CUDA {cuda}" if cuda else "no CUDA"
    return module, f"{library} (CPU kernels: {function().decode()}; {with_cuda})"


def _matching_libraries(tensorflow_version: str) -> tuple[list[fused_cache.Library], list[str]]:
    """The libraries for this TensorFlow and these sources, and why others were left out.

    One that was built with sanitizers is for processes that ask for them, and no other is.
    """
    builder = _builder()
    wanted = {
        "tensorflow": tensorflow_version,
        "sources": builder.sources_digest(),
        "sanitizers": builder.sanitizers(),
    }
    return fused_cache.libraries(builder, _PACKAGE / builder.LIBRARY, wanted)


@functools.cache
def _builder() -> Any:
    """The module `build` beside the sources, in the installed package or in the clone, or None."""
    folders = [_PACKAGE / "_ops", _PACKAGE.parent / "ops"]
    paths = [folder / "build.py" for folder in folders]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return None
    spec: Any = importlib.util.spec_from_file_location("cb_keras._ops.build", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


def _main(arguments: list[str]) -> int:
    if arguments == ["status"]:
        print(status())
        return 0
    if arguments == ["build"]:
        try:
            print(_printable(f"built: {build()}"))
        except FusedOpError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        print(status())
        return 0
    print("usage: python -m cb_keras.fused status|build", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
