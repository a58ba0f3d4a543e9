"""Logit-adjusted softmax loss, of which Balanced Softmax is a case."""

from typing import Any

import keras

from cb_keras.counts import ByClass
from cb_keras.functional.logit_side import of_logit_adjusted
from cb_keras.losses.base import Fused, Reduction
from cb_keras.losses.fixed import Fixed
from cb_keras.losses.logit_side import LogitSideLoss
from cb_keras.weights import Normalize


@keras.saving.register_keras_serializable(package="cb_keras")
class LogitAdjustedCrossentropy(LogitSideLoss):
    """Softmax loss of adjusted logits, `CE(z + tau log pi, y)` with the class frequencies pi.

    With `tau` 1 it is Balanced Softmax. The model's own logits z are then those of balanced
    classes: accuracy and exports take them as they are, without the offset. A validation loss
    keeps it.

    Args:
        class_counts: Training examples per class, shape `[C]`, integers >= 1, counted from the
            labels that the model trains on. A dict, Counter or pandas Series is read by class.
        tau: Factor of the logarithm of the class frequencies, >= 0; 0 is the plain softmax loss.
        beta: Of the class-balanced weights on top, in `[0, 1]`; without effect at `power` 0.
        power: Power of the class-balanced weights on top; 0 (default): every class has weight 1.
        class_weights: `[C]`, finite and >= 0, in place of those that `beta` and `power` make. They
            multiply the loss and are not in p.
        fused: As in `ClassBalancedSoftmaxCrossentropy`.
        reduction: As there.
        name: Name of the loss.
        dtype: As in `keras.losses.Loss`; a type below float32 computes in float32 all the same.
        label_smoothing: Share in [0, 1] of the loss that is spread over all classes.
        ignore_class: Class id of examples that do not count, or None; for class ids only.
        normalize: Of the weights on top, `"classes"` or `"examples"`.

    Attributes:
        class_weights: float32 `keras.Variable` `[C]`, not trainable, which
            `cb_keras.callbacks.ClassWeightScheduler` sets by epoch (deferred re-weighting).

    Call arguments:
        y_true: Class ids `[...]` or `[..., 1]`, or one-hot or soft labels `[..., C]`, as for
            `ClassBalancedSoftmaxCrossentropy`.
        y_pred: Logits `[..., C]`, taken as they are: never the output of a softmax.
        sample_weight: Optional, of the shape `[...]` of the losses or of its first axes.

    Raises:
        ValueError: An argument is out of range, a class has no examples, or (when called or
            traced) shapes do not fit.
        cb_keras.fused.FusedOpError: When called: `fused=True` can't be honoured; says why.

    Examples:
        >>> from cb_keras import losses
        >>> loss = losses.LogitAdjustedCrossentropy([9, 1])
        >>> [round(float(loss([c], [[0.0, 0.0]])), 4) for c in (0, 1)]  # -log 0.9, -log 0.1
        [0.1054, 2.3026]

    Source: Menon et al., "Long-Tail Learning via Logit Adjustment", ICLR 2021, equation 10; Ren et
    al., "Balanced Meta-Softmax", NeurIPS 2020, equation 4.
    """

    tau = Fixed[float]()

    def __init__(
        self,
        class_counts: ByClass,
        tau: float = 1.0,
        *,
        beta: float = 0.9999,
        power: float = 0.0,
        class_weights: ByClass | None = None,
        fused: Fused = "auto",
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "logit_adjusted_crossentropy",
        dtype: Any = None,
        label_smoothing: float = 0.0,
        ignore_class: int | None = None,
        normalize: Normalize = "classes",
    ) -> None:
        super().__init__(
            class_counts,
            of_logit_adjusted(class_counts, tau),
            beta=beta,
            power=power,
            class_weights=class_weights,
            fused=fused,
            reduction=reduction,
            name=name,
            dtype=dtype,
            ignore_class=ignore_class,
            normalize=normalize,
            label_smoothing=label_smoothing,
        )
        self.tau = float(tau)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same loss, with the class weights it has now."""
        return {**super().get_config(), "tau": self.tau}
