"""What the library uses of Keras and TensorFlow without a public name, or under another in some.

`tests/cb_keras/test_private_*.py` show that the installed versions have it, and that it does
what the library relies on.
"""

import functools
import sys
from typing import Any, NamedTuple

# Modules of Keras that trace a model before they export it: SavedModel, LiteRT, ONNX, OpenVINO.
KERAS_EXPORT_MODULES = "keras.src.export."
KERAS_COMPILED_METRICS = "keras.src.trainers.compile_utils"


def keras_mask(tensor: Any) -> Any:
    """The mask that Keras' layers left on a tensor, or None."""
    from keras.src import backend

    return backend.get_keras_mask(tensor)


def set_keras_mask(tensor: Any, mask: Any) -> None:
    """Leaves a mask on a tensor, where `keras.losses.Loss` looks for it."""
    from keras.src import backend

    backend.set_keras_mask(tensor, mask)


def not_the_callers(weights: Any) -> Any:
    """The same weights, for `keras.losses.Loss` to change.

    It multiplies them in place by the mask, which on PyTorch would change the caller's own tensor,
    and fails for one that is broadcast.
    """
    import keras

    return keras.ops.copy(weights) if keras.backend.backend() == "torch" else weights


def reduced_losses(losses: Any, reduction: str | None, dtype: str) -> Any:
    """What `keras.losses.Loss` makes of losses without weights or a mask."""
    from keras.src.losses.loss import reduce_weighted_values

    return reduce_weighted_values(losses, reduction=reduction, dtype=dtype)


def keras_logits(tensor: Any) -> Any:
    """The logits that Keras' softmax or sigmoid left on its result, or None.

    Keras' own losses take these in place of the result.
    """
    return getattr(tensor, "_keras_logits", None)


def in_stateless_scope() -> bool:
    """Whether Keras runs a function without side effects, as JAX's trainer does."""
    from keras.src import backend

    return backend.in_stateless_scope()


def name_in_logs(metric: Any) -> str:
    """The name that a compiled model's logs have for a metric: its own, outside of such a model.

    Keras puts the output's name before it, `weighted_` and a number, and tells the metric none of
    it. Of a result that is a dict it then drops that name, so that the metric's keys must hold it.
    """
    frame = sys._getframe(1)
    while frame is not None:  # up to `CompileMetrics.result`, which asks each metric `m`
        if frame.f_globals.get("__name__") == KERAS_COMPILED_METRICS:
            values = frame.f_locals
            if values.get("m") is metric and isinstance(values.get("name"), str):
                return str(values["name"])
        frame = frame.f_back  # type: ignore[assignment]
    return str(metric.name)


class CompiledOutput(NamedTuple):
    """An output of a compiled model, with the metrics and losses that it was compiled with."""

    name: str
    metrics: list[Any]
    losses: list[Any]


def compiled_outputs(model: Any) -> list[CompiledOutput]:
    """The outputs of a compiled model that has seen a batch; none of another, or without metrics.

    A loss whose output can't be found is that of every output.
    """
    metrics: Any = getattr(model, "_compile_metrics", None)
    losses: Any = getattr(model, "_compile_loss", None)
    if not (getattr(metrics, "built", False) and getattr(losses, "built", False)):
        return []
    lists = zip(metrics._flat_metrics, metrics._flat_weighted_metrics, strict=True)
    held = [[m for part in pair if part is not None for m in part.metrics] for pair in lists]
    names = metrics._resolved_output_names or metrics.output_names or []
    if len(names) != len(held):
        names = [str(position) for position in range(len(held))]
    outputs = [CompiledOutput(name, own, []) for name, own in zip(names, held, strict=True)]
    for entry in losses._flat_losses:
        position = _position(entry.path, names, losses)
        for output in outputs if position is None else outputs[position : position + 1]:
            output.losses.append(entry.loss)
    return outputs


def _position(path: tuple[Any, ...], names: list[str], losses: Any) -> int | None:
    """Which output of a model a path in the structure of its outputs leads to, or None."""
    import keras

    if len(names) == 1:
        return 0
    if len(path) == 1 and isinstance(path[0], int):
        return path[0]
    if len(path) == 1 and names.count(path[0]) == 1:
        return names.index(path[0])
    structure = getattr(losses, "_y_pred_build_structure", None)
    if hasattr(keras.tree, "flatten_with_path"):
        paths = [found for found, _ in keras.tree.flatten_with_path(structure)]
        return paths.index(path) if path in paths else None
    return None


def set_metric_direction(metric: Any, direction: str) -> None:
    """Tells EarlyStopping and ModelCheckpoint whether `"up"` or `"down"` is better."""
    metric._direction = direction


def jax_float64() -> Any:
    """JAX's context in which there are 64 bits; JAX 0.6 has it in another place."""
    import jax

    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64

    return enable_x64(True)


def jax_lowers_for_export(context: Any) -> bool:
    """Whether a primitive is lowered for jax.export, which other processes will run."""
    return bool(context.module_context.lowering_parameters.for_export)


def jax_lowered_for_devices(primitive: Any) -> None:
    """Tells JAX that the lowering of a primitive needs the devices, as a partitioning does."""
    from jax._src import dispatch

    dispatch.prim_requires_devices_during_lowering.add(primitive)


def variable_index(optimizer: Any, variable: Any) -> int:
    """Position of a variable in an optimizer's lists, such as `momentums`."""
    return optimizer._get_variable_index(variable)


def tf_data_is_batched(dataset: Any) -> bool:
    """Whether the elements of a `tf.data.Dataset` are batches that it has made itself."""
    while True:
        kind = type(dataset).__name__.lstrip("_")
        if "Batch" in kind or kind.startswith("DenseToRagged"):
            return True
        if kind.startswith(("Unbatch", "FlatMap", "Interleave", "ParallelInterleave", "Window")):
            return False
        inputs = dataset._inputs() if hasattr(dataset, "_inputs") else []
        if len(inputs) != 1:  # of `zip` and `concatenate`, or none
            return bool(inputs) and all(map(tf_data_is_batched, inputs))
        (dataset,) = inputs


def could_record() -> bool:
    """Whether a tape or a forward accumulator of TensorFlow may be recording."""
    from tensorflow.python.eager import record

    return record.could_possibly_record()


def with_custom_gradient(function: Any, *tensors: Any) -> Any:
    """`tf.custom_gradient(function)(*tensors)`, for a function of tensors that has one result.

    In eager code that looks at the function's signature and for variables, at every call; here its
    result is recorded as `tf.custom_gradient` records it, and nothing else.
    """
    import tensorflow as tf

    if not tf.executing_eagerly():
        return tf.custom_gradient(function)(*tensors)
    from tensorflow.python.eager import record

    result, backward = function(*tensors)
    result = tf.identity(result)
    record.record_operation(function.__name__, [result], list(tensors), backward)
    return result


def possible_gradient_types(tensors: list[Any]) -> int:
    """Derivatives of these tensors that tapes and forward accumulators may ask for.

    Returns:
        0: none; 1: first derivatives; 2: higher ones too.
    """
    from tensorflow.python.ops import gradients_util

    return gradients_util.PossibleTapeGradientTypes(tensors)


def in_save_context() -> bool:
    """Whether TensorFlow writes a SavedModel, and traces functions for it."""
    from tensorflow.python.saved_model import save_context

    return save_context.in_save_context()


@functools.cache
def function_type() -> Any:
    """The class of what `tf.function` returns."""
    import tensorflow as tf

    return type(tf.function(lambda: None))


def compiled_by_xla(function: Any) -> bool:
    """Whether a `tf.function` has `jit_compile=True`; the graph that it traces does not say so."""
    return bool(function._jit_compile)


def torch_device() -> str:
    """The device on which Keras puts PyTorch's tensors."""
    from keras.src.backend.torch import core

    return str(core.get_device())


def torch_transforms() -> bool:
    """Whether a transform of `torch.func` (grad, vmap, jvp) is at work."""
    import torch

    return torch._C._are_functorch_transforms_active()


def torch_forward_mode() -> bool:
    """Whether derivatives are carried forward, by `torch.func.jvp` or in a `dual_level`."""
    from torch.autograd import forward_ad

    return forward_ad._current_level >= 0


def torch_batched_gradients(upstream: Any) -> bool:
    """Whether a gradient is of many at once, by `torch.autograd.grad(is_grads_batched=True)`."""
    import torch

    return bool(torch._C._functorch.is_legacy_batchedtensor(upstream))


def torch_dispatches(*tensors: Any) -> bool:
    """Whether others than PyTorch's own kernels are to see every operation on these tensors.

    As a mode does that counts or traces operations, or a class of tensors that are spread over
    devices or have no values.
    """
    import torch

    if torch._C._len_torch_dispatch_stack():
        return True
    own = torch.Tensor.__torch_dispatch__
    return any(type(tensor).__torch_dispatch__ is not own for tensor in tensors)


def torch_is_followed() -> bool:
    """Whether somebody follows every operation: a transform, forward mode, a mode, a trace."""
    import torch

    return (
        torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch.autograd.forward_ad._current_level >= 0
        or torch.jit.is_tracing()
    )


def marked_by_keras(tensor: Any) -> bool:
    """Whether Keras' layers left a mask or logits on a tensor."""
    mask = getattr(tensor, "_keras_mask", None)
    return mask is not None or getattr(tensor, "_keras_logits", None) is not None


def torch_exports() -> bool:
    """Whether `torch.export` traces; before PyTorch 2.7 that of its strict mode can't be seen."""
    import torch

    if hasattr(torch.compiler, "is_exporting"):
        return torch.compiler.is_exporting()
    return torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()


def torch_value(variable: Any) -> Any:
    """A variable's tensor.

    In compiled code without what Keras' property looks at on its way, at each call anew.
    """
    import torch

    value = getattr(variable, "_value", None) if torch.compiler.is_compiling() else None
    return variable.value if value is None else value
