"""Callbacks for long-tailed training: class weights by epoch."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np

from cb_keras._progress import ThroughputProgress
from cb_keras.checks import check_pairs_of_weights
from cb_keras.counts import ByClass, by_class, check_class_weights

__all__ = ["ClassWeightScheduler", "ThroughputProgress"]


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
