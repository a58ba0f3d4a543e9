"""What the losses of one output, and of labels that are each a yes or no, share."""

from typing import Any

import keras
from keras import ops
from numpy.typing import ArrayLike

from cb_keras import private_api
from cb_keras.checks import (
    check_flag,
    check_ignored_label,
    per_label,
    refuse_invalid_multi_hot,
    to_tensors,
    warn_of_activation,
)
from cb_keras.functional.preparation import Prepared, prepare_per_label
from cb_keras.losses.arguments import at_least_float32, is_reduced_by_torch, plain_dtype
from cb_keras.losses.base import Fused, Reduction, check_fused
from cb_keras.losses.fixed import Fixed
from cb_keras.losses.left_out import leave_out


class PerLabelLoss(keras.losses.Loss):
    """Base of the losses that sum over labels, each of which is a yes or no.

    A subclass has `_formula`, and where it knows them `_num_labels` and `_weights`.
    """

    from_logits, ignore_class = Fixed[bool](), Fixed[int | None]()

    def __init__(
        self,
        *,
        from_logits: bool,
        ignore_class: int | None,
        fused: Fused,
        reduction: Reduction | None,
        name: str,
        dtype: Any,
    ) -> None:
        self._requested_dtype = dtype
        super().__init__(name=name, reduction=reduction, dtype=at_least_float32(dtype))
        self.from_logits = check_flag("from_logits", from_logits)
        self.ignore_class = check_ignored_label(ignore_class)
        self.fused = check_fused(fused)
        self._looks_at_values = self.from_logits  # once: they are copied from the device

    def __call__(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Any:
        """The reduced loss; `call` sees by their shape that labels and logits are in one form."""
        labels, logits = self._per_label(*to_tensors(y_true, y_pred))
        if self.from_logits and warn_of_activation(y_pred, self._looks_at_values):
            self._looks_at_values = False
        mask = private_api.keras_mask(y_pred)
        if mask is not None or sample_weight is not None:
            logits = ops.cast(logits, self.dtype)
            labels, logits, sample_weight = leave_out(
                labels, logits, False, mask, sample_weight, self.ignore_class
            )
        elif is_reduced_by_torch(logits):
            from cb_keras.fused.doors import torch_plain

            losses = self.call(ops.cast(labels, self.dtype), ops.cast(logits, self.dtype))
            return torch_plain.reduced(losses, self.reduction)
        return super().__call__(labels, logits, sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss per example, shape `[...]`, with the Keras mask of those with a label that is known.

        Where no label is ignored there is no mask.
        """
        if self.fused is True:
            from cb_keras.fused import FusedOpError

            raise FusedOpError(
                "`fused=True`, but the fused op can't be used here: it does not have this loss. "
                '`fused="auto"` computes it with keras.ops.'
            )
        if not (ops.is_tensor(y_true) and ops.is_tensor(y_pred)):
            y_true, y_pred = to_tensors(y_true, y_pred)
        labels, logits = self._per_label(y_true, y_pred)
        prepared = prepare_per_label(labels, logits, self._weights(), self.ignore_class)
        losses = refuse_invalid_multi_hot(prepared.labels, self._formula(prepared))
        if prepared.void is not None:  # Keras leaves the others out of the mean
            known = ops.logical_not(ops.all(prepared.void, axis=-1))
            private_api.set_keras_mask(losses, known)
        return losses

    def _per_label(self, labels: Any, logits: Any) -> tuple[Any, Any]:
        number = self._num_labels()
        return per_label(labels, logits, number, vector_is_one_output=number == 1)

    def _num_labels(self) -> int | None:
        """Number of labels that the loss is for, None for any."""
        return None

    def _weights(self) -> Any:
        """Tensor of the weights that `_formula` takes, or None."""
        return None

    def _formula(self, prepared: Prepared) -> Any:
        """Loss per example by `keras.ops`."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same loss."""
        return {
            "from_logits": self.from_logits,
            "ignore_class": self.ignore_class,
            "fused": self.fused,
            "reduction": self.reduction,
            "name": self.name,
            "dtype": plain_dtype(self._requested_dtype),
        }
