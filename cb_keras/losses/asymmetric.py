"""Asymmetric loss for multi-label classification."""

from typing import Any

import keras

from cb_keras.checks import check_gamma, check_margin
from cb_keras.functional.asymmetric import asymmetric
from cb_keras.functional.preparation import Prepared
from cb_keras.losses.base import Fused, Reduction
from cb_keras.losses.fixed import Fixed
from cb_keras.losses.per_label import PerLabelLoss


@keras.saving.register_keras_serializable(package="cb_keras")
class AsymmetricCrossentropy(PerLabelLoss):
    """Asymmetric loss (ASL) of labels that are each a yes or no.

    `-sum_l [ y_l (1 - p_l)^g+ log p_l + (1 - y_l) q_l^g- log(1 - q_l) ]` with `p = sigmoid(z)` and
    `q = max(p - margin, 0)`: easy negatives, p below the margin, cost nothing. It needs no counts.

    Args:
        gamma_negative: Focusing parameter g- of negative labels, a finite float >= 0.
        gamma_positive: Focusing parameter g+ of positive labels, a finite float >= 0.
        margin: What p of a negative label is lowered by, in `[0, 1)`. With 0, and both parameters
            equal, this is the focal loss.
        from_logits: Whether `y_pred` are logits (default) or probabilities.
        ignore_class: Label of those that are not known, such as -1: they have loss and gradient 0,
            the others of their example count. Not 0 or 1. None (default): all count.
        fused: `"auto"` (default) or False; the native op does not have this loss.
        reduction: `"sum_over_batch_size"` (default; divides by the number of examples, not of
            labels), `"mean"`, `"sum"`, `"mean_with_sample_weight"` or None.
        name: Name of the loss.
        dtype: As in `keras.losses.Loss`; a type below float32 computes in float32 all the same.

    Call arguments:
        y_true: 0/1 labels, or soft ones in between: `[..., L]`, of one output also `[...]`. One
            outside of `[0, 1]`, or NaN, is refused where its value can be seen (TensorFlow but
            under XLA, and eager JAX and PyTorch on the CPU); elsewhere its example's loss is NaN.
        y_pred: `[..., L]`, taken as it is: with `from_logits=True` never the output of a sigmoid.
        sample_weight: Optional, of the shape `[...]` of the losses or of its first axes. An
            example of weight 0, or that a Keras mask leaves out, has loss 0 and gradient 0
            whatever its labels and logits are.

    Raises:
        ValueError: An argument is out of range, or (when called or traced) shapes do not fit.

    Examples:
        >>> from cb_keras import losses
        >>> loss = losses.AsymmetricCrossentropy()
        >>> round(float(loss([[1, 0]], [[0.0, -3.0]])), 4)  # 1/2 log 2; p = 0.047 is easy
        0.3466

        It goes into `model.compile(optimizer, loss)` like a loss of Keras.

    Source: Ridnik et al., "Asymmetric Loss For Multi-Label Classification", ICCV 2021.
    """

    gamma_negative, gamma_positive, margin = Fixed[float](), Fixed[float](), Fixed[float]()

    def __init__(
        self,
        gamma_negative: float = 4.0,
        gamma_positive: float = 1.0,
        margin: float = 0.05,
        *,
        from_logits: bool = True,
        ignore_class: int | None = None,
        fused: Fused = "auto",
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "asymmetric_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            from_logits=from_logits,
            ignore_class=ignore_class,
            fused=fused,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )
        self.gamma_negative = check_gamma(gamma_negative, "gamma_negative")
        self.gamma_positive = check_gamma(gamma_positive, "gamma_positive")
        self.margin = check_margin(margin)

    def _formula(self, prepared: Prepared) -> Any:
        return asymmetric(
            prepared, self.gamma_negative, self.gamma_positive, self.margin, self.from_logits
        )

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same loss."""
        return {
            **super().get_config(),
            "gamma_negative": self.gamma_negative,
            "gamma_positive": self.gamma_positive,
            "margin": self.margin,
        }
