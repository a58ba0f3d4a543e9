"""Callbacks for long-tailed training: class weights by epoch, or by what the training finds."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cb_keras import private_api
from cb_keras._progress import ThroughputProgress
from cb_keras.checks import check_momentum, check_pairs_of_weights, check_positive, check_power
from cb_keras.counts import ByClass, by_class, check_class_counts, check_class_weights
from cb_keras.metrics.base import ClassMetric

__all__ = ["ClassWeightScheduler", "DifficultyWeights", "ThroughputProgress"]


class ClassWeightScheduler(keras.callbacks.Callback):
    """Sets the class weights of a class-balanced loss at the start of every epoch.

    Deferred re-weighting (Cao et al., NeurIPS 2019), for instance, trains with equal weights
    first and with class-balanced ones from a later epoch on:

        weights = cb_keras.class_balanced_weights(class_counts)
        ClassWeightScheduler(None, lambda epoch: np.ones_like(weights) if epoch < 160 else weights)

    Works under every `jit_compile` setting. On JAX, whose trainer compiles the weights into the
    step, a change compiles the step again.

    When training begins the loss is looked for among the losses of the model (and what a loss or
    a function among them holds). One that is not there, since the callback was copied (KerasTuner
    does) or the model loaded from a file, is replaced by the only one of the model of its class,
    name and number of classes. One that is an attribute of the model or of a layer is taken as it
    is, and so is any where the model is not compiled, or has a `train_step` or `compute_loss` of
    its own and no such loss among those it was compiled with: it can't be seen what those use.

    Args:
        loss: One of `cb_keras.losses`, the one the model was compiled with; None for the only one
            that the model has.
        schedule: Function of the epoch (from 0) that returns weights `[C]`, finite and >= 0; a
            dict or pandas Series is read by class. `[L, 2]` for the several labels of
            `ClassBalancedBinaryCrossentropy`.

    Attributes:
        loss: The loss whose weights are set.

    Raises:
        ValueError: `loss` has no class weights; or, when training begins, the model does not have
            it, or has none or several for None; or, in an epoch, its weights are not valid.
    """

    def __init__(self, loss: Any, schedule: Callable[[int], ByClass]) -> None:
        super().__init__()
        if loss is not None and not isinstance(_class_weights(loss), keras.Variable):
            raise ValueError(
                f"`loss` must be one of cb_keras.losses, or None for the model's, got {loss!r}."
            )
        self.loss = self._given = loss
        self.schedule = schedule
        self._in_the_step: Any = None  # the weights that JAX has compiled in, once they are known

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Finds the loss of the model."""
        self.loss = _loss_of(self.model, self._given)
        self._in_the_step = None

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Assigns `schedule(epoch)`."""
        returned = by_class("schedule(epoch)", self.schedule(epoch))
        if np.shape(returned) != tuple(self.loss.class_weights.shape):
            raise ValueError(
                f"`schedule` returned weights of shape {np.shape(returned)} for epoch {epoch}, the "
                f"loss has {tuple(self.loss.class_weights.shape)}."
            )
        check = check_class_weights if np.ndim(returned) == 1 else check_pairs_of_weights
        weights = check("schedule(epoch)", returned, f" in epoch {epoch}")
        self.loss.class_weights.assign(weights)
        if keras.backend.backend() != "jax" or np.array_equal(weights, self._in_the_step):
            return
        self._in_the_step = weights
        self.model.make_train_function(force=True)
        self.model.make_test_function(force=True)


class DifficultyWeights(ClassWeightScheduler):
    """Class weights times a power of each class's running training error, set every epoch.

        w_c = s b_c (error_c + floor)^power,        s so that sum_c w_c = sum_c b_c

    `b` are the weights that the training starts with, such as those of `class_balanced_weights`,
    and `error_c = 1 - recall_c` of the training examples as they were seen: an average over the
    epochs so far, `momentum` to the power of its age the weight of an epoch. It costs no pass
    over the data: a metric of the model has counted the hits already. While no class is harder
    than another, at the beginning and once all are learnt, the weights are `b`; the floor bounds
    the ratio of two classes to `((1 + floor) / floor)^power` over that of `b`.

    Works as `ClassWeightScheduler` does. For a training that is continued, keep `state()` with
    the checkpoint and give it to `restore`: the weights then are the same to the last bit.

    Args:
        loss: One of `cb_keras.losses`, the one the model was compiled with; None for the only one
            that the model has.
        weights: `b`, class weights `[C]`, finite and >= 0; a dict or pandas Series is read by
            class.
        power: How much the difficulty counts, any finite number; 0 not at all.
        momentum: Float in `[0, 1)`; 0 looks at the last epoch alone.
        floor: What is added to the error, > 0.
        class_counts: Training examples per class `[C]`; with them `s` keeps the mean weight of
            the training examples, `sum_c n_c w_c = sum_c n_c b_c`, as suits weights of
            `normalize="examples"`.

    Attributes:
        loss: The loss whose weights are set.

    Raises:
        ValueError: An argument is out of range; or, after the first batch, the model has no
            metric that counts by class, such as `cb_keras.metrics.BalancedAccuracy`; of several
            outputs, that of the loss has none, or the loss is of more than one.

    Examples:
        >>> import cb_keras, keras, numpy as np
        >>> weights = cb_keras.class_balanced_weights([3, 1])
        >>> loss = cb_keras.losses.ClassBalancedSoftmaxCrossentropy(class_weights=weights)
        >>> model = keras.Sequential([keras.layers.Dense(2)])
        >>> model.compile("sgd", loss, metrics=[cb_keras.metrics.BalancedAccuracy(2)])
        >>> difficulty = cb_keras.callbacks.DifficultyWeights(loss, weights)
        >>> x, y = np.eye(4, dtype="float32"), np.array([0, 0, 0, 1])
        >>> _ = model.fit(x, y, epochs=2, verbose=0, callbacks=[difficulty])
        >>> round(float(np.sum(loss.class_weights)), 4)
        2.0

    Source: ours; Sinha et al., "Class-Wise Difficulty-Balanced Loss for Solving
    Class-Imbalance", ACCV 2020, weight by `error_c^power` alone, the error that of held-out
    examples.
    """

    def __init__(
        self,
        loss: Any,
        weights: ByClass,
        power: float = 1.0,
        momentum: float = 0.9,
        floor: float = 0.1,
        class_counts: ByClass | None = None,
    ) -> None:
        super().__init__(loss, self._weights)
        self.weights = check_class_weights("weights", weights)
        self.power = check_power(power)
        self.momentum = check_momentum(momentum)
        self.floor = check_positive("floor", floor)
        self._scaled_by = np.ones(len(self.weights))
        if class_counts is not None:
            self._scaled_by = check_class_counts(class_counts, minimum=0)
        if self._scaled_by.shape != self.weights.shape:
            raise ValueError(
                f"`class_counts` has {len(self._scaled_by)} classes, `weights` has "
                f"{len(self.weights)}."
            )
        # Sums over the epochs, the older ones faded: of the errors, and of the epochs' own weights.
        self._errors, self._epochs = np.zeros((2, len(self.weights)))
        self._metric: Any = None
        self._to_read = False

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Assigns the weights."""
        super().on_epoch_begin(epoch, logs)
        self._to_read = True

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Finds the loss of the model."""
        super().on_train_begin(logs)
        self._metric = None

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Finds the metric that counts by class, which Keras makes in the first batch."""
        if self._metric is None:
            self._metric = _class_metric_of(self.model, len(self.weights), self.loss)

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Reads the hits of the epoch, before its validation counts anew."""
        self._read()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Reads the hits of an epoch without validation."""
        self._read()

    def state(self) -> dict[str, list[float]]:
        """What a continued training needs of the epochs so far, as JSON can hold it."""
        return {"errors": self._errors.tolist(), "epochs": self._epochs.tolist()}

    def restore(self, state: Mapping[str, list[float]]) -> None:
        """Goes on from what `state` returned."""
        sums = [np.asarray(state[name], "float64") for name in ("errors", "epochs")]
        if any(found.shape != self.weights.shape for found in sums):
            raise ValueError(
                f"`state` has {len(sums[0])} classes, `weights` has {len(self.weights)}."
            )
        self._errors, self._epochs = sums

    def _read(self) -> None:
        if not self._to_read or self._metric is None:
            return
        self._to_read = False
        total = np.asarray(self._metric.total, "float64")
        seen = total > 0
        error = 1.0 - np.asarray(self._metric.correct, "float64") / np.where(seen, total, 1.0)
        keep = np.where(seen, self.momentum, 1.0)  # an epoch without a class says nothing of it
        self._errors = keep * self._errors + (1.0 - keep) * np.clip(error, 0.0, 1.0)
        self._epochs = keep * self._epochs + (1.0 - keep)

    def _weights(self, epoch: int) -> NDArray[np.float32]:
        """The weights by the errors so far; a class never seen counts as the mean of the others."""
        known = self._epochs > 0
        if not known.any():
            return self.weights
        error = self._errors / np.where(known, self._epochs, 1.0)
        factor = np.where(known, error, error[known].mean()) + self.floor
        before = self.weights.astype("float64")
        largest = factor.max() if self.power > 0 else factor.min()
        after = before * (factor / largest) ** self.power  # at most `before`, so nothing overflows
        return (after * (self._scaled_by @ before) / (self._scaled_by @ after)).astype("float32")


def _class_metric_of(model: Any, num_classes: int, loss: Any) -> Any:
    """A metric of the model that counts hits by class, of the output of the loss; or ValueError."""

    def counts(metric: Any) -> bool:
        is_one = isinstance(metric, ClassMetric) and not metric.multi_label
        return is_one and metric.num_classes == num_classes

    outputs = private_api.compiled_outputs(model)
    compiled = {id(metric) for output in outputs for metric in output.metrics}
    inner = [part for metric in model.metrics for part in getattr(metric, "metrics", ())]
    others = [m for m in (*model.metrics, *inner) if counts(m) and id(m) not in compiled]
    of_loss = [o for o in outputs if any(_holds(held, loss) for held in o.losses)]
    with_metric = [o for o in of_loss or outputs if any(map(counts, o.metrics))]
    if len(with_metric) > 1:
        raise ValueError(
            f"`loss` ({loss.name}) may be of any of the outputs "
            f"{', '.join(o.name for o in with_metric)}, and the errors of one are needed: give "
            "that output a loss of its own, or it alone a metric that counts by class."
        )
    if with_metric or others:  # of the model's own metrics nobody knows what they are of
        return next(filter(counts, with_metric[0].metrics)) if with_metric else others[0]
    whose, its = "the model", ""
    if len(outputs) > 1 and of_loss:
        name = ", ".join(o.name for o in of_loss)
        whose, its = f"output {name} of the model, whose loss this is,", " for that output"
    raise ValueError(
        f"{whose} has no metric that counts the hits of {num_classes} classes: compile it with "
        f"metrics=[cb_keras.metrics.BalancedAccuracy({num_classes})]{its}."
    )


def _holds(thing: Any, loss: Any) -> bool:
    return any(held is loss for held in _losses_in(thing))


def _loss_of(model: Any, given: Any) -> Any:
    """The loss of the model that a scheduler with the loss `given` is for, or ValueError."""
    compiled = bool(getattr(model, "compiled", False))
    losses = _losses_in(model.loss) if compiled else []
    if given is None and len(losses) == 1:
        return losses[0]
    if given is None:
        raise ValueError(
            f"`loss`=None, but the model has {len(losses)} class-balanced losses"
            f"{_names(losses)}: compile it with one, or give the scheduler the one that is meant."
        )
    held = [value for layer in _layers(model) for value in vars(layer).values()]
    if not compiled or any(loss is given for loss in (*losses, *held)):
        return given
    alike = [loss for loss in losses if _signature(loss) == _signature(given)]
    if len(alike) == 1:
        return alike[0]
    if not alike and _is_custom(model):
        return given
    raise ValueError(
        f"`loss` ({given.name}) is not the model's: setting its class weights would do nothing. "
        f"The model was compiled with {len(losses)} class-balanced losses{_names(losses)}"
        f"{', more than one of which is like it' if alike else ''}. Give the scheduler the very "
        "loss that was given to `compile`, or None for the only one of the model; names tell "
        "copies apart. A loss inside another must be an attribute of that keras.losses.Loss."
    )


def _losses_in(thing: Any, depth: int = 4) -> list[Any]:
    """Class-balanced losses that the `loss` of a model is or holds, each once."""
    if isinstance(_class_weights(thing), keras.Variable):
        return [thing]
    found: dict[int, Any] = {}
    for part in _parts(thing) if depth else ():
        found.update((id(loss), loss) for loss in _losses_in(part, depth - 1))
    return list(found.values())


def _parts(thing: Any) -> Iterable[Any]:
    """What a structure of losses, a loss that wraps others, or a function holds."""
    if isinstance(thing, Mapping):
        return thing.values()
    if isinstance(thing, list | tuple):
        return thing
    if isinstance(thing, keras.losses.Loss):
        return vars(thing).values()
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if inspect.ismethod(thing):
        return [thing.__self__]
    parts = [thing.__wrapped__] if hasattr(thing, "__wrapped__") else []  # of tf.function, say
    if inspect.isfunction(thing) and not (thing.__module__ or "").startswith("keras."):
        with contextlib.suppress(ValueError):  # a variable that is not set yet
            used = inspect.getclosurevars(thing)
            parts += [*used.nonlocals.values(), *used.globals.values()]
    return parts


def _class_weights(loss: Any) -> Any:
    return getattr(loss, "class_weights", None) if isinstance(loss, keras.losses.Loss) else None


def _signature(loss: Any) -> tuple[Any, ...]:
    return type(loss), loss.name, tuple(loss.class_weights.shape)


def _names(losses: list[Any]) -> str:
    return f" ({', '.join(loss.name for loss in losses)})" if losses else ""


def _layers(model: Any) -> list[Any]:
    return [model, *getattr(model, "layers", ())]


def _is_custom(model: Any) -> bool:
    """Whether the model's class computes its loss in a way of its own."""
    steps = ("train_step", "compute_loss", "compute_loss_and_updates", "make_train_function")
    return any(getattr(type(model), s, None) is not getattr(keras.Model, s, None) for s in steps)
