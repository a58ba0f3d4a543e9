"""What the class-balanced losses share: class weights, labels, configuration, the fused op.

A loss is a subclass that names its arguments and has `_formula`; where the fused op can compute
it, `_fused_form` says under which name.
"""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike, NDArray

from cb_keras import private_api
from cb_keras.checks import (
    canonical_labels,
    check_beta,
    check_class_weights,
    check_flag,
    check_ignore_class,
    check_power,
    narrow_class_ids,
    refuse_invalid_class_ids,
    refuse_invalid_multi_hot,
    refuse_invalid_one_hot,
    to_tensors,
    void_class_ids,
    warn_of_activation,
)
from cb_keras.checks.seen import in_tensorflow_graph
from cb_keras.counts import ByClass
from cb_keras.functional.preparation import Prepared, prepare_checked
from cb_keras.losses.arguments import (
    WithClassWeights,
    assigned_weights,
    at_least_float32,
    check_either,
    check_no_effect,
    is_reduced_by_torch,
    plain_dtype,
)
from cb_keras.losses.fixed import Fixed
from cb_keras.losses.left_out import leave_out
from cb_keras.weights import (
    Empty,
    Normalize,
    checked_counts,
    class_balanced_weights,
    constant_variable,
)

if TYPE_CHECKING:
    from cb_keras.fused import Kind

_ON_TORCH = keras.backend.backend() == "torch"
_MAX_CLASSES = 2**24  # Keras hands labels to `call` as float32, exact up to here

Fused = bool | Literal["auto"]
Reduction = Literal["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none"]


class FusedForm(NamedTuple):
    """A loss as `cb_keras.fused` knows it: its name there and its parameters."""

    kind: "Kind"
    gamma: float = 0.0
    label_smoothing: float = 0.0
    adjusts: int = 0


class ClassBalancedLoss(WithClassWeights, keras.losses.Loss):
    """Base of the losses whose examples have the weight of their class."""

    _multi_hot = False  # whether dense labels are one yes or no per class
    class_counts = Fixed[list[int] | None]()
    beta, power = Fixed[float](), Fixed[float]()
    normalize, empty = Fixed[Normalize](), Fixed[Empty]()
    from_logits, ignore_class = Fixed[bool](), Fixed[int | None]()

    def __init__(
        self,
        *,
        class_counts: ByClass | None,
        beta: float,
        power: float,
        class_weights: ByClass | None,
        from_logits: bool,
        fused: Fused,
        reduction: Reduction | None,
        name: str,
        dtype: Any,
        ignore_class: int | None = None,
        normalize: Normalize = "classes",
        empty: Empty = "raise",
    ) -> None:
        self._requested_dtype = dtype
        super().__init__(name=name, reduction=reduction, dtype=at_least_float32(dtype))
        check_either(class_counts, class_weights)
        self.beta = check_beta(beta)
        self.power = check_power(power)
        self.from_logits = check_flag("from_logits", from_logits)
        self.fused = check_fused(fused)
        self.ignore_class = check_ignore_class(ignore_class)
        self.normalize, self.empty = normalize, empty
        self.class_counts = _plain_counts(class_counts, empty)
        if class_counts is None:
            self._initial_weights = self._given_weights(class_weights)
        else:
            self._initial_weights = class_balanced_weights(
                class_counts, self.beta, self.power, normalize, empty
            )
        self._check_number_of_classes()
        self._class_weights = constant_variable(self._initial_weights, "class_weights")
        self._looks_at_values = self.from_logits  # once: they are copied from the device
        self._formula_is_overridden = _overrides(type(self), "_formula", "_fused_form")
        self._may_be_plain = (  # in one: compiled code of PyTorch looks at each anew in each call
            self.from_logits
            and self.ignore_class is None
            and self.dtype == "float32"
            and type(self).call is ClassBalancedLoss.call
            and not self._formula_is_overridden
        )

    def _checked_weights(self, value: Any) -> NDArray[np.float32]:
        weights = check_class_weights("class_weights", value)
        if weights.size != self._num_classes:
            raise ValueError(
                f"`class_weights` has {weights.size} classes, the loss {self._num_classes}: give "
                "one weight for each class."
            )
        return weights

    def _given_weights(self, class_weights: ByClass | None) -> NDArray[np.float32]:
        check_no_effect(self.beta, self.power)
        if (self.normalize, self.empty) != ("classes", "raise"):
            raise ValueError(
                f"`normalize`={self.normalize!r} and `empty`={self.empty!r} have no effect on "
                "`class_weights`, which are used as they are: leave them at their defaults."
            )
        return check_class_weights("class_weights", class_weights)

    def _check_number_of_classes(self) -> None:
        # A number of its own, for PyTorch's compiler makes a tensor of an array that it sees used.
        number = self._num_classes = self._initial_weights.size
        if number == 1:
            name = "class_weights" if self.class_counts is None else "class_counts"
            raise ValueError(
                f"`{name}` has one class, where there is nothing to balance. For a yes or no of "
                "one output use ClassBalancedBinaryCrossentropy([n_negative, n_positive])."
            )
        if number > _MAX_CLASSES:
            raise ValueError(f"at most {_MAX_CLASSES} classes are supported, got {number}.")

    def __call__(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Any:
        """The reduced loss.

        Labels are checked and brought into one form here, before the base class casts them, which
        would hide a class id of low precision; `call` sees by their shape that it is done.
        """
        if sample_weight is None:
            loss = self._of_plain_tensors(y_true, y_pred)
            if loss is not None:
                return loss
        labels, logits = to_tensors(y_true, y_pred)
        labels, sparse = canonical_labels(labels, logits, self._num_classes)
        if self.from_logits and warn_of_activation(y_pred, self._looks_at_values):
            self._looks_at_values = False
        mask = private_api.keras_mask(y_pred)
        if mask is not None or sample_weight is not None:
            logits = ops.cast(logits, self.dtype)
            labels, logits, sample_weight = leave_out(
                labels, logits, sparse, mask, sample_weight, self.ignore_class
            )
        given, left_to_the_op = labels, self._leaves_labels_to_the_op(logits, sparse)
        if sparse:
            labels = labels if left_to_the_op else self._checked_ids(labels)
            labels = narrow_class_ids(labels, self.dtype)
        unweighted = mask is None and sample_weight is None
        plain = unweighted and self.ignore_class is None
        half = plain and self._op_reads_half_precision(logits, sparse)
        if unweighted and is_reduced_by_torch(logits):
            from cb_keras.fused.doors import torch_plain

            labels = ops.cast(labels, self.dtype)
            losses = self.call(labels, logits if half else ops.cast(logits, self.dtype))
            return torch_plain.reduced(losses, self.reduction)
        try:
            if half:
                losses = self.call(ops.cast(labels, self.dtype), logits)
                return private_api.reduced_losses(losses, self.reduction, self.dtype)
            return super().__call__(labels, logits, sample_weight)
        except Exception:  # in eager code maybe of a label, which the checks find in what was given
            if left_to_the_op and not in_tensorflow_graph():
                self._checked_ids(given) if sparse else self._checked_multi_hot(given, np.nan)
            raise

    def _checked_ids(self, labels: Any) -> Any:
        return refuse_invalid_class_ids(labels, self._num_classes, self.ignore_class)

    def _checked_multi_hot(self, labels: Any, losses: Any) -> Any:
        check = refuse_invalid_multi_hot if self._multi_hot else refuse_invalid_one_hot
        return check(labels, losses)

    def _of_plain_tensors(self, labels: Any, logits: Any) -> Any:
        """The reduced loss of arguments that need no looking into, the shortest way; else None."""
        if self.fused is False or not self._may_be_plain:
            return None
        from cb_keras import fused

        if fused.plain is None or fused.plain.call_is_replaced(self):
            return None
        if not fused.plain.are_plain(labels, logits, self._num_classes, self._looks_at_values):
            return None
        form = self._fused_form()
        if form is None:
            return None
        arrays = self._class_arrays()
        kind, gamma, label_smoothing, adjusts = form
        return fused.plain.loss(
            kind, gamma, label_smoothing, adjusts, labels, logits, arrays, self.reduction
        )

    def _leaves_labels_to_the_op(self, logits: Any, sparse: bool) -> bool:
        """Whether the fused op will look at the labels, so that a check would be the second."""
        if self.fused is False or isinstance(logits, keras.KerasTensor):
            return False
        form = self._usable_fused_form(logits, self.dtype, sparse)
        return _named_by_op(logits) and form is not None

    def _op_reads_half_precision(self, logits: Any, sparse: bool) -> bool:
        """Whether the logits stay as they are: the op computes in float32 from 16 bits.

        A cast would cost as much as the loss, once more for the gradient, and changes no result.
        """
        dtype = keras.backend.standardize_dtype(logits.dtype)
        half = dtype in ("bfloat16", "float16") and self.dtype == "float32"
        return half and self._usable_fused_form(logits, sparse=sparse) is not None

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss per example, shape `[...]`, with the Keras mask of those that count.

        Where no class is ignored there is no mask.
        """
        if not (ops.is_tensor(y_true) and ops.is_tensor(y_pred)):
            y_true, y_pred = to_tensors(y_true, y_pred)
        labels, sparse = canonical_labels(y_true, y_pred, self._num_classes)
        void = void_class_ids(labels, sparse, self.ignore_class)
        form = self._usable_fused_form(y_pred, sparse=sparse)
        if form is not None:
            losses = self._by_fused_op(form, labels, y_pred, sparse)
        else:
            weights = ops.convert_to_tensor(self._class_weights)
            prepared = prepare_checked(labels, y_pred, weights, sparse, self.ignore_class)
            losses = self._formula(prepared)
        if not sparse and not (self._multi_hot and form is not None and _named_by_op(y_pred)):
            losses = self._checked_multi_hot(labels, losses)
        if void is not None:  # Keras leaves them out of the mean
            private_api.set_keras_mask(losses, ops.logical_not(void))
        return losses

    def _formula(self, prepared: Prepared) -> Any:
        """Loss per example by `keras.ops`; every loss has one."""
        raise NotImplementedError

    def _fused_form(self, sparse: bool = True) -> FusedForm | None:
        """Its name and parameters in the fused op; None of a loss that the op does not have.

        Args:
            sparse: Whether the labels are class ids.
        """
        return None

    def _class_arrays(self) -> Any:
        """What the fused op takes of each class: the weights `[C]`, for most losses."""
        if _ON_TORCH:  # its value is a tensor; the conversion takes long
            return private_api.torch_value(self._class_weights)
        return ops.convert_to_tensor(self._class_weights)

    def _usable_fused_form(
        self, y_pred: Any, dtype: Any = None, sparse: bool = True
    ) -> FusedForm | None:
        """`_fused_form` where the op can be used for this call, else None.

        Args:
            y_pred: The predictions.
            dtype: What they will be cast to, or None for what they are.
            sparse: Whether the labels are class ids.

        Raises:
            FusedOpError: `fused=True`, but the op can't be used.
        """
        if self.fused is False or isinstance(y_pred, keras.KerasTensor):
            return None
        from cb_keras import fused  # not before it is needed: it may load the library

        form = None if self._formula_is_overridden else self._fused_form(sparse)
        of_ids = not sparse and self._fused_form() is not None
        reason: str | None = f"it does not have this loss{' of dense labels' if of_ids else ''}"
        if form is not None:
            dtype = dtype or keras.backend.standardize_dtype(y_pred.dtype)
            reason = fused.why_not(form.kind, dtype, self.from_logits)
        if reason and self.fused is True:
            raise fused.FusedOpError(
                f"`fused=True`, but the fused op can't be used here: {reason}. "
                '`fused="auto"` computes the same with keras.ops.'
            )
        return None if reason else form

    def _by_fused_op(self, form: FusedForm, labels: Any, logits: Any, sparse: bool) -> Any:
        from cb_keras import fused
        from cb_keras.fused.kinds import averages

        averaged = averages(self.reduction)
        return fused.prepared(
            fused.Form(form.kind, form.label_smoothing, self.ignore_class, form.adjusts),
            labels,
            logits,
            self._class_arrays(),
            form.gamma,
            expected_upstream=fused.mean_upstream(logits) if averaged else 1.0,
            sparse=sparse,
        )

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same loss, with the class weights it has now."""
        config = {
            "class_counts": self.class_counts,
            "beta": self.beta,
            "power": self.power,
            "class_weights": None if self.class_counts else self._initial_weights.tolist(),
            "from_logits": self.from_logits,
            "fused": self.fused,
            "reduction": self.reduction,
            "name": self.name,
            "dtype": plain_dtype(self._requested_dtype),
            "ignore_class": self.ignore_class,
            "normalize": self.normalize,
            "empty": self.empty,
        }
        assigned = assigned_weights(self.class_weights, self._initial_weights)
        return config | ({**assigned, "normalize": "classes", "empty": "raise"} if assigned else {})


def _overrides(loss: type, name: str, other: str) -> bool:
    """Whether a class has its own `name`, and of a parent `other`, which knows nothing of it."""
    owners = {n: next(c for c in loss.__mro__ if n in vars(c)) for n in (name, other)}
    return owners[name] is not owners[other] and issubclass(owners[name], owners[other])


def _named_by_op(y_pred: Any) -> bool:
    from cb_keras import fused

    return fused.names_bad_labels(y_pred)


def _plain_counts(class_counts: ByClass | None, empty: Empty) -> list[int] | None:
    if class_counts is None:
        return None
    return [int(count) for count in checked_counts(class_counts, empty)]


def check_fused(fused: Any) -> Fused:
    """Returns `fused`, or raises ValueError where it is none of its three values."""
    if not (isinstance(fused, bool) or fused == "auto"):
        raise ValueError(f'`fused` must be "auto", True or False, got {fused!r}.')
    return fused
