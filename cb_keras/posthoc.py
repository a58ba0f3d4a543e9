"""What is done to the logits or the head of a trained model, without training it again.

`tau` and the temperature are chosen on images held out of the training set, never on the test
set. Those are long-tailed too, so that plain accuracy would choose `tau` 0: it is balanced accuracy
and the class-balanced likelihood that choose. Where the best that is found is at the end of the
range that is searched, an `EndOfRangeWarning` says so.
"""

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike, NDArray

from cb_keras.checks import check_tau, warn_of_activation
from cb_keras.counts import ByClass
from cb_keras.functional.logit_side import log_prior, log_shares
from cb_keras.functional.preparation import at_least_float32

_TAUS = np.linspace(0.0, 3.0, 301)
_LOOKED_AT = 256  # rows, whether they are probabilities
_LOG_TEMPERATURES = np.linspace(np.log(0.01), np.log(1000.0), 2401)


class EndOfRangeWarning(UserWarning):
    """The best `tau` or temperature may lie beyond the range that was searched."""


def adjust_logits(logits: Any, class_counts: ByClass, tau: float = 1.0) -> Any:
    """Logits less the logarithms of the class frequencies, `z - tau log pi`.

    For a model that was trained with the plain loss on those counts. Not for one whose loss has
    the offset (`LogitAdjustedCrossentropy`), or whose sampler or class weights changed the
    frequencies: its logits are adjusted already.

    Args:
        logits: `[..., C]`, numbers or a tensor.
        class_counts: Training examples per class `[C]`, integers >= 1.
        tau: Factor >= 0; 1 is the change to balanced classes.

    Returns:
        `[..., C]` tensor, float32 at least.

    Raises:
        ValueError: A class has no examples, `tau` is out of range, or the sizes do not fit.

    Source: Menon et al., ICLR 2021, equation 9.
    """
    return _plus(logits, -check_tau(tau) * log_prior(class_counts), "class_counts")


def shift_prior(logits: Any, from_prior: ByClass, to_prior: ByClass) -> Any:
    """Logits for other class frequencies than the training's, `z - log from + log to`.

    Args:
        logits: `[..., C]`, numbers or a tensor.
        from_prior: Class frequencies of the training, or counts, `[C]`, > 0; they are divided by
            their sum.
        to_prior: Class frequencies where the model is used, `[C]`, > 0.

    Returns:
        `[..., C]` tensor, float32 at least, whose softmax are the probabilities there.

    Raises:
        ValueError: A frequency is not finite and > 0, or the sizes do not fit.

    Source: Saerens et al., "Adjusting the Outputs of a Classifier to New a Priori Probabilities",
    Neural Computation 2002, equation 2.4.
    """
    before, after = log_shares("from_prior", from_prior), log_shares("to_prior", to_prior)
    if before.shape != after.shape:
        raise ValueError(
            f"`from_prior` has {before.size} classes, `to_prior` has {after.size}: give one number "
            "for each class."
        )
    return _plus(logits, after - before, "from_prior")


def normalize_classifier(model: Any, tau: float) -> None:
    """Divides each class's weights in the last layer by a power of their norm: `w_c / |w_c|^tau`.

    Changes the model in place. The bias stays as it is.

    Args:
        model: A built Keras model of one output whose last layer with weights is a
            `keras.layers.Dense`; or that Dense itself, such as `model.get_layer("species")` of a
            model with several outputs. Of a subclass of `keras.Model` the layer made last is the
            last one.
        tau: Power >= 0; 0 changes nothing, 1 gives all classes the norm 1.

    Raises:
        ValueError: `tau` is out of range, the model has several outputs or one that comes from
            several layers with weights, the last of them is no Dense, it is quantized or has LoRA
            weights, or a class's weights are all 0.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> from cb_keras import posthoc
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> model.set_weights([np.array([[3.0, 0.0], [4.0, 2.0]]), np.zeros(2)])
        >>> posthoc.normalize_classifier(model, 1.0)
        >>> model.get_weights()[0].round(3).tolist()
        [[0.6000000238418579, 0.0], [0.800000011920929, 1.0]]

    Source: Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition",
    ICLR 2020, equation 3.
    """
    tau = check_tau(tau)
    head, norms = _classifier(model)
    kernel = ops.convert_to_numpy(head.kernel)
    head.kernel.assign((kernel / norms**tau).astype(kernel.dtype))


def fit_tau(logits: ArrayLike, labels: ArrayLike, class_counts: ByClass) -> float:
    """The `tau` of `adjust_logits` with the best balanced accuracy on held-out images.

    Of several that are equally good the middle one of the widest stretch, to 0.01 between 0 and 3.
    An `EndOfRangeWarning` says where that stretch reaches 3; at 0 nothing is said, for less is no
    `tau`.

    Args:
        logits: `[N, C]`, of images held out of the training set.
        labels: Their class ids `[N]`.
        class_counts: Training examples per class `[C]`, integers >= 1.

    Returns:
        A float in [0, 3].

    Raises:
        ValueError: Shapes that do not fit together, no images, or a logit that is not finite
            (-inf of a class that is not the label stays: a class that is left out).
    """
    z, y = _held_out(logits, labels)
    prior = log_prior(class_counts)
    if prior.size != z.shape[1]:
        raise ValueError(f"`class_counts` has {prior.size} classes, `logits` has {z.shape[1]}.")
    return _best_tau(lambda tau: z - tau * prior, y)


def fit_classifier_tau(model: Any, logits: ArrayLike, labels: ArrayLike) -> float:
    """The `tau` of `normalize_classifier` with the best balanced accuracy on held-out images.

    Of several that are equally good as `fit_tau`, between 0 and 3 and with its warning. The model
    stays as it is.

    Args:
        model: A built Keras model of one output, or its Dense, as there.
        logits: `[N, C]`, what that layer gives for images held out of the training set.
        labels: Their class ids `[N]`.

    Returns:
        A float in [0, 3].

    Raises:
        ValueError: As `fit_temperature`, or a head as it is refused there.
    """
    z, y = _held_out(logits, labels)
    head, norms = _classifier(model)
    if norms.size != z.shape[1]:
        raise ValueError(f"`model` has {norms.size} classes, `logits` has {z.shape[1]}.")
    bias = np.zeros(norms.size)
    if head.use_bias:
        bias = ops.convert_to_numpy(head.bias).astype("float64")
    return _best_tau(lambda tau: (z - bias) / norms**tau + bias, y)


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The temperature T for which `softmax(z / T)` has the best likelihood on held-out images.

    It is the class-balanced likelihood, the mean over classes of the mean over their images. To
    0.5% between 0.01 and 1000; an `EndOfRangeWarning` says where it is one of these. It is the
    first where all images are classified right, for then smaller is better without end.

    Args:
        logits: `[N, C]`, of images held out of the training set.
        labels: Their class ids `[N]`.

    Returns:
        A float > 0, to divide logits by.

    Raises:
        ValueError: Shapes that do not fit together, no images, or a logit that is not finite
            (-inf of a class that is not the label stays: a class that is left out).

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.
    """
    z, y = _held_out(logits, labels)
    weight = 1.0 / np.bincount(y)[y]

    def loss(log_temperature: float) -> float:
        scaled = z / np.exp(log_temperature)
        own = np.take_along_axis(scaled, y[:, None], axis=1)[:, 0]
        return float(np.sum(weight * (np.logaddexp.reduce(scaled, axis=1) - own)))

    return _best_temperature(loss)


def _classifier(model: Any) -> tuple[Any, NDArray[np.float64]]:
    """The last layer with weights, a Dense, and the norms `[C]` of its classes' weights."""
    head = model if isinstance(model, keras.layers.Dense) else _last_dense(model)
    if not head.built:
        raise ValueError(
            f"`model`'s layer {head.name!r} has no weights yet: build the model first."
        )
    if head.quantization_mode not in (None, "float8") or head.lora_enabled:
        what = "has LoRA weights" if head.lora_enabled else f"is {head.quantization_mode}-quantized"
        raise ValueError(
            f"`model`'s layer {head.name!r} {what}, so that its weights are not those of a Dense: "
            "normalize it before that, or make a plain keras.layers.Dense of its weights."
        )
    kernel = ops.convert_to_numpy(head.kernel)
    norms = np.linalg.norm(kernel.astype("float64"), axis=0)
    if not norms.all():
        raise ValueError(
            f"`model`'s weights of class {int(np.argmin(norms))} are all 0: they have no norm."
        )
    return head, norms


def _last_dense(model: Any) -> Any:
    """The Dense that all outputs of a model come from, or raises ValueError."""
    outputs = _refuse_several(_outputs(model), model)
    with_weights = [layer for layer in model.layers if layer.weights]
    head = with_weights[-1] if with_weights else None
    if not isinstance(head, keras.layers.Dense):
        last = "none" if head is None else type(head).__name__
        raise ValueError(
            f"`model` must end with a keras.layers.Dense; its last layer with weights is {last}. "
            "Or give the Dense itself, such as model.get_layer(name)."
        )
    is_chain = not outputs or isinstance(model, keras.Sequential)
    if not is_chain and not _depends_on_alone(outputs[0], head):
        raise ValueError(
            f"`model`'s output does not come from its last keras.layers.Dense, {head.name!r}, "
            "alone: give the layer that is meant, model.get_layer(name), in place of the model."
        )
    return head


def _refuse_several(outputs: list[Any], model: Any) -> list[Any]:
    number = len(outputs) or _number_of_outputs_of_subclass(model)
    if number > 1:
        names = getattr(model, "output_names", None)
        raise ValueError(
            f"`model` has {number} outputs{f', {names}' if names else ''}, so that its last "
            "layer need not be the one that is meant: give the keras.layers.Dense of one of them, "
            "such as model.get_layer(name), in place of the model."
        )
    return outputs


def _outputs(model: Any) -> list[Any]:
    """The outputs of a model; none of a subclass of keras.Model, whose `call` makes them."""
    with contextlib.suppress(AttributeError, ValueError):  # a Sequential that is not built
        return list(keras.tree.flatten(model.outputs))
    return []


def _number_of_outputs_of_subclass(model: Any) -> int:
    """As its `call` gives them for the shape that it was built with; 0 where that can't be told."""
    with contextlib.suppress(Exception):  # code of others, asked for what it may not say
        shape = model.get_build_config()["input_shape"]
        return len(keras.tree.flatten(model.compute_output_spec(keras.KerasTensor(shape))))
    return 0


def _depends_on_alone(output: Any, head: Any) -> bool:
    """Whether an output is computed from that of a layer and nothing else."""
    if head.output is output:
        return True
    try:
        keras.Model(head.output, output)
    except ValueError:  # Keras' words for a graph with another beginning
        return False
    return True


def _best_tau(adjusted: Callable[[float], NDArray[np.float64]], y: NDArray[np.int64]) -> float:
    """The tau whose logits `[N, C]` have the best balanced accuracy, the middle one of several."""
    size = np.bincount(y)[y] * len(np.unique(y))
    scores = np.array([np.sum((adjusted(tau).argmax(1) == y) / size) for tau in _TAUS])
    best = np.flatnonzero(scores >= scores.max() - 1e-12)
    stretches = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
    widest = max(stretches, key=len)
    tau = float(_TAUS[widest[len(widest) // 2]])
    if widest[-1] == len(_TAUS) - 1:
        first = f"{_TAUS[widest[0]]:g}"
        why = f"of those from {first} to 3, which are equally good, {tau:g} is taken"
        _warn_of_end("`tau` is up to 3", "0 to 3", "larger", why)
    return tau


def _best_temperature(loss: Callable[[float], float]) -> float:
    """The temperature whose logarithm has the smallest loss."""
    # Convex in 1 / T, so that the first of a grid that is followed by a larger one is the best.
    low, high = 0, len(_LOG_TEMPERATURES) - 1
    while low < high:
        middle = (low + high) // 2
        if loss(_LOG_TEMPERATURES[middle]) <= loss(_LOG_TEMPERATURES[middle + 1]):
            high = middle
        else:
            low = middle + 1
    temperature = float(np.exp(_LOG_TEMPERATURES[low]))
    if low in (0, len(_LOG_TEMPERATURES) - 1):
        better, why = (
            ("larger", "the logits may say nothing of the labels")
            if low
            else ("smaller", "all images may be classified right, or all logits be alike")
        )
        _warn_of_end(f"temperature is {temperature:g}", "0.01 to 1000", better, why)
    return temperature


def _warn_of_end(best: str, searched: str, better: str, why: str) -> None:
    """Warns the caller of the function that calls the one that calls this."""
    warnings.warn(
        f"the best {best}, the end of the range that is searched, {searched}: a {better} one may "
        f"be as good or better; {why}.",
        EndOfRangeWarning,
        stacklevel=4,
    )


def _warn_of_probabilities(logits: Any) -> None:
    """Warns the caller of the function that calls the one that calls this."""
    name, remedy = "`logits` is taken for logits", "take the logarithms of the probabilities"
    if not warn_of_activation(logits, False, name, remedy, stacklevel=5):
        # Few of them tell: they are copied from the device.
        warn_of_activation(logits[:_LOOKED_AT], True, name, remedy, stacklevel=5)


def _plus(logits: Any, offset: NDArray[np.float64], name: str) -> Any:
    logits = ops.convert_to_tensor(logits)
    _warn_of_probabilities(logits)
    if logits.shape[-1] != offset.size:
        raise ValueError(
            f"`{name}` has {offset.size} classes, `logits` has {logits.shape[-1]}: "
            f"{tuple(logits.shape)}."
        )
    dtype = at_least_float32(logits)
    return ops.cast(logits, dtype) + ops.convert_to_tensor(offset, dtype)


def _held_out(logits: ArrayLike, labels: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    _warn_of_probabilities(logits)
    z = np.asarray(ops.convert_to_numpy(logits), "float64")
    y = np.asarray(ops.convert_to_numpy(labels))
    if z.ndim != 2 or y.shape != z.shape[:1] or not y.size or y.dtype.kind not in "iu":
        raise ValueError(
            f"`logits` must be [N, C] and `labels` integers [N] with N >= 1, got {z.shape} and "
            f"{y.dtype} {y.shape}."
        )
    if not 0 <= y.min() <= y.max() < z.shape[1]:
        raise ValueError(f"`labels` must be in [0, {z.shape[1]}), found {y.min()} to {y.max()}.")
    left_out = (z == -np.inf) & (y[:, None] != np.arange(z.shape[1]))
    wrong = np.argwhere(~np.isfinite(z) & ~left_out)
    if len(wrong):
        position = tuple(wrong[0].tolist())
        raise ValueError(
            f"`logits` holds {len(wrong)} that are not finite, the first at position "
            f"{list(position)}, {z[position]}: leave those images out."
        )
    return z, y.astype("int64")
