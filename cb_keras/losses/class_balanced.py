"""Class-balanced softmax, sigmoid and focal losses (Cui et al. 2019; Park & Hwang 2022)."""

from typing import Any, Literal

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from cb_keras import functional
from cb_keras.checks import (
    check_beta,
    check_flag,
    check_gamma,
    check_labels,
    check_power,
    invalid_class_ids,
    narrow_class_ids,
    to_tensors,
    warn_of_activation,
)
from cb_keras.counts import ByClass, check_class_weights
from cb_keras.examples import along_leading, left_out, mask_of, with_mask
from cb_keras.weights import (
    check_class_counts,
    class_balanced_weights,
    constant_variable,
)

_PACKAGE = "cb_keras"
_MAX_CLASSES = 2**24  # Keras hands labels to `call` as float32, exact up to here

Fused = bool | Literal["auto"]
Reduction = Literal["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none"]

_ARGS = """

    Args:
        class_counts: Training examples per class, shape `[C]`, integers >= 1, counted from the
            labels that the model trains on. A dict, Counter or pandas Series is read by class.
        beta: Float in `[0, 1]`; `1 - 1/N` for a prototype volume N. 1 is inverse frequency.
        power: Power of the class-balanced term, any finite float: 0 none, 0.5 square root,
            1 class-balanced, 2 squared.{gamma}
        class_weights: `[C]`, finite and >= 0, in place of `class_counts` (and of `beta` and
            `power`), used as they are.
        from_logits: Whether `y_pred` are logits (default) or probabilities.
        fused: Which of two ways to the same values. `"auto"` (default): the native op of
            `cb_keras.fused` where it is built and can be used (TensorFlow, eager or in a graph,
            float32 logits), `keras.ops` elsewhere (XLA, JAX, PyTorch, one-hot softmax). False:
            always `keras.ops`. True: always the op, or an error when the loss is called. On the
            CPU the op refuses a class id outside `[0, C)` by position and value; all else gives
            NaN for that example.
        reduction: `"sum_over_batch_size"` (default; divides by the number of examples, the
            official code's number of positives), `"mean"`, `"sum"`,
            `"mean_with_sample_weight"` or None.
        name: Name of the loss.
        dtype: As in `keras.losses.Loss`; a type below float32 computes in float32 all the same.

    Attributes:
        class_weights: float32 `keras.Variable` of shape `[C]`, not trainable. Assigning to it
            changes the loss from the next step on; on JAX the trainer compiles its value in, so
            use `cb_keras.callbacks.ClassWeightScheduler`, which works everywhere.

    Call arguments:
        y_true: Class ids `[...]` or `[..., 1]`, or one-hot / multi-hot labels `[..., C]`.
            Integers stay exact whatever the dtype policy.
        y_pred: `[..., C]`, taken as it is: with `from_logits=True` never the output of a softmax
            or sigmoid. Where that can be known (on TensorFlow in graphs, and for the first eager
            batch on every backend) a warning says so; in code that JAX or PyTorch compiles it
            can't be.
        sample_weight: Optional, of the shape `[...]` of the losses or of its first axes: `[N]`
            weights the images of losses `[N, H, W]`. An example of weight 0, or that a Keras mask
            leaves out, has loss 0 and gradient 0 whatever its label and logits are.

    Raises:
        ValueError: An argument is out of range, there is only one class, both or neither of
            `class_counts` and `class_weights` are given, or (when called or traced) shapes do not
            fit.
        cb_keras.fused.FusedOpError: When called: `fused=True` can't be honoured; says why.

    Source: {source}
    """


class _ClassBalancedLoss(keras.losses.Loss):
    """What the three losses share: the class weights, label checks and configuration.

    Subclasses set `_kind`, the loss's name in `cb_keras.fused`, and `_composed`, the loss by
    `cb_keras.functional`.
    """

    def __init__(
        self,
        class_counts: ByClass | None,
        beta: float,
        power: float,
        class_weights: ByClass | None,
        from_logits: bool,
        fused: Fused,
        reduction: Reduction | None,
        name: str,
        dtype: Any,
    ) -> None:
        self._requested_dtype = dtype
        super().__init__(name=name, reduction=reduction, dtype=_at_least_float32(dtype))
        if (class_counts is None) == (class_weights is None):
            raise ValueError(
                "give either `class_counts` (the weights are computed from them) or "
                f"`class_weights`, got {'neither' if class_counts is None else 'both'}."
            )
        self.beta = check_beta(beta)
        self.power = check_power(power)
        self.from_logits = check_flag("from_logits", from_logits)
        if not (isinstance(fused, bool) or fused == "auto"):
            raise ValueError(f'`fused` must be "auto", True or False, got {fused!r}.')
        self.fused = fused
        if class_counts is not None:
            self.class_counts: list[int] | None = [
                int(count) for count in check_class_counts(class_counts)
            ]
            initial = class_balanced_weights(class_counts, self.beta, self.power)
        else:
            if (self.beta, self.power) != (0.9999, 1.0):
                raise ValueError(
                    f"`beta`={self.beta} and `power`={self.power} have no effect on "
                    "`class_weights`, which are used as they are: leave them at their defaults."
                )
            self.class_counts = None
            initial = check_class_weights("class_weights", class_weights)
        if initial.size == 1:
            name = "class_weights" if class_counts is None else "class_counts"
            raise ValueError(
                f"`{name}` has one class, where there is nothing to balance. For a yes or no give "
                "the model two outputs and ClassBalancedSoftmaxCrossentropy, with the counts "
                "[n_negative, n_positive] and 0/1 labels."
            )
        if initial.size > _MAX_CLASSES:
            raise ValueError(f"at most {_MAX_CLASSES} classes are supported, got {initial.size}.")
        self._initial_weights = initial
        self.class_weights = constant_variable(initial, "class_weights")
        self._looks_at_values = self.from_logits  # once, for they have to come from the device

    def __call__(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Any:
        labels, logits = to_tensors(y_true, y_pred)
        # Before the base class casts the labels, which would hide a low-precision class id.
        sparse = check_labels(labels, logits, len(self._initial_weights))
        if self.from_logits and warn_of_activation(y_pred, self._looks_at_values):
            self._looks_at_values = False
        mask, weight = mask_of(y_pred), None
        if mask is not None or sample_weight is not None:
            static, shape = tuple(logits.shape[:-1]), ops.shape(logits)[:-1]
            if mask is not None:
                mask = along_leading("mask", mask, static, shape)
            if sample_weight is not None:
                weight = along_leading("sample_weight", sample_weight, static, shape)
            logits = ops.cast(logits, self.dtype)
            labels, logits = _harmless_where_left_out(
                left_out(mask, weight), labels, logits, sparse
            )
        if sparse:
            labels = narrow_class_ids(labels, self.dtype)
        return super().__call__(labels, with_mask(logits, mask), weight)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss per example, shape `[...]`."""
        if self._uses_fused_op(y_true, y_pred):
            from cb_keras import fused

            averaged = self.reduction not in ("sum", "none", None)
            return fused.crossentropy(
                self._kind,
                y_true,
                y_pred,
                self.class_weights,
                getattr(self, "gamma", 0.0),
                expected_upstream=fused.mean_upstream(y_pred) if averaged else 1.0,
            )
        return self._composed(y_true, y_pred)

    def _uses_fused_op(self, y_true: Any, y_pred: Any) -> bool:
        if self.fused is False or isinstance(y_pred, keras.KerasTensor):
            return False
        from cb_keras import fused  # not before it is needed: it may load the library

        sparse = check_labels(y_true, y_pred)
        dtype = keras.backend.standardize_dtype(y_pred.dtype)
        reason = fused.why_not(self._kind, sparse, dtype, self.from_logits)
        if reason and self.fused is True:
            raise fused.FusedOpError(
                f"`fused=True`, but the fused op can't be used here: {reason}. "
                '`fused="auto"` computes the same with keras.ops.'
            )
        return reason is None

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
            "dtype": _plain_dtype(self._requested_dtype),
        }
        current = ops.convert_to_numpy(self.class_weights.value)
        if not np.array_equal(current, self._initial_weights):
            # Somebody assigned other weights: keep those rather than restore the first ones.
            config.update(class_counts=None, class_weights=current.tolist(), beta=0.9999, power=1.0)
        return config


class ClassBalancedSoftmaxCrossentropy(_ClassBalancedLoss):
    """Class-balanced softmax cross-entropy, `w_y * -log softmax(z)_y`."""

    _kind = "softmax"

    def __init__(
        self,
        class_counts: ByClass | None = None,
        beta: float = 0.9999,
        power: float = 1.0,
        class_weights: ByClass | None = None,
        from_logits: bool = True,
        fused: Fused = "auto",
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "class_balanced_softmax_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            class_counts, beta, power, class_weights, from_logits, fused, reduction, name, dtype
        )

    def _composed(self, y_true: Any, y_pred: Any) -> Any:
        return functional.class_balanced_softmax_crossentropy(
            y_true, y_pred, self.class_weights, from_logits=self.from_logits
        )


class ClassBalancedSigmoidCrossentropy(_ClassBalancedLoss):
    """Class-balanced sigmoid cross-entropy, `w_y * sum_c BCE(z_c, y_c)`."""

    _kind = "sigmoid"

    def __init__(
        self,
        class_counts: ByClass | None = None,
        beta: float = 0.9999,
        power: float = 1.0,
        class_weights: ByClass | None = None,
        from_logits: bool = True,
        fused: Fused = "auto",
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "class_balanced_sigmoid_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            class_counts, beta, power, class_weights, from_logits, fused, reduction, name, dtype
        )

    def _composed(self, y_true: Any, y_pred: Any) -> Any:
        return functional.class_balanced_sigmoid_crossentropy(
            y_true, y_pred, self.class_weights, from_logits=self.from_logits
        )


class ClassBalancedFocalCrossentropy(_ClassBalancedLoss):
    """Class-balanced focal loss, `w_y * sum_c (1 - p_t)^gamma * BCE(z_c, y_c)`."""

    _kind = "focal"

    def __init__(
        self,
        class_counts: ByClass | None = None,
        beta: float = 0.9999,
        power: float = 1.0,
        gamma: float = 1.0,
        class_weights: ByClass | None = None,
        from_logits: bool = True,
        fused: Fused = "auto",
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "class_balanced_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            class_counts, beta, power, class_weights, from_logits, fused, reduction, name, dtype
        )
        self.gamma = check_gamma(gamma)

    def _composed(self, y_true: Any, y_pred: Any) -> Any:
        return functional.class_balanced_focal_crossentropy(
            y_true, y_pred, self.class_weights, self.gamma, from_logits=self.from_logits
        )

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same loss, with the class weights it has now."""
        return {**super().get_config(), "gamma": self.gamma}


def _harmless_where_left_out(out: Any, labels: Any, logits: Any, sparse: bool) -> tuple[Any, Any]:
    """Labels and logits, without what would make 0 times NaN of an example that is left out.

    Valid labels and usual logits stay, for the gradient by the sample weight is made of them.
    """
    rows = ops.expand_dims(out, -1)
    invalid = (
        invalid_class_ids(labels, logits.shape[-1])
        if sparse
        else functional.invalid_multi_hot(ops.cast(labels, logits.dtype))
    )
    of_labels = rows if len(labels.shape) == len(logits.shape) else out
    labels = ops.where(ops.logical_and(of_labels, invalid), ops.zeros_like(labels), labels)
    return labels, functional.tame_where(rows, logits)


def _plain_dtype(dtype: Any) -> Any:
    """A dtype or policy as JSON can hold it; names and configurations stay as they are."""
    if isinstance(dtype, keras.DTypePolicy):
        return keras.dtype_policies.serialize(dtype)
    is_plain = dtype is None or isinstance(dtype, str | dict)
    return dtype if is_plain else keras.backend.standardize_dtype(dtype)


def _at_least_float32(dtype: Any) -> str:
    if not isinstance(dtype, keras.DTypePolicy):
        dtype = _plain_dtype(dtype)
    compute_dtype = keras.dtype_policies.get(dtype or keras.config.floatx()).compute_dtype
    return "float64" if compute_dtype == "float64" else "float32"


for _cls, _source, _gamma in (
    (ClassBalancedSoftmaxCrossentropy, "equation 7", ""),
    (ClassBalancedSigmoidCrossentropy, "equation 9", ""),
    (
        ClassBalancedFocalCrossentropy,
        "equation 11, after Lin et al., ICCV 2017",
        "\n        gamma: Focusing parameter, a finite float >= 0; 0 is the sigmoid loss.",
    ),
):
    _cls.__doc__ = (_cls.__doc__ or "") + _ARGS.format(
        source=f"Cui et al., CVPR 2019, {_source}; powers other than 1: Park & Hwang 2022.",
        gamma=_gamma,
    )
    keras.saving.register_keras_serializable(package=_PACKAGE)(_cls)
