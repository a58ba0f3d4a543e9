"""Label-distribution-aware margin loss."""

from typing import Any

import keras

from cb_keras.counts import ByClass
from cb_keras.functional.logit_side import of_ldam
from cb_keras.losses.base import Fused, Reduction
from cb_keras.losses.fixed import Fixed
from cb_keras.losses.logit_side import LogitSideLoss
from cb_keras.weights import Normalize


@keras.saving.register_keras_serializable(package="cb_keras")
class LDAMCrossentropy(LogitSideLoss):
    """Label-distribution-aware margin loss, `CE(scale (z_c - m_c [c = y]), y)`.

    `m_c = max_margin (n_min / n_c)^(1/4)`. The z are cosines: the model's last layer is
    `cb_keras.layers.NormalizedDense`. Its probabilities are `softmax(scale z)`. With
    `cb_keras.callbacks.ClassWeightScheduler` and `cb_keras.weight_schedules.deferred` it is
    LDAM-DRW.

    Args:
        class_counts: Training examples per class, shape `[C]`, integers >= 1, counted from the
            labels that the model trains on. A dict, Counter or pandas Series is read by class.
        max_margin: Margin of the rarest class, > 0.
        scale: Factor of the cosines, > 0.
        beta: Of the class-balanced weights on top, in `[0, 1]`; without effect at `power` 0.
        power: Power of the class-balanced weights on top; 0 (default): every class has weight 1.
        class_weights: `[C]`, finite and >= 0, in place of those that `beta` and `power` make. They
            multiply the loss and are not in p.
        fused: As in `ClassBalancedSoftmaxCrossentropy`; the op takes class ids alone.
        reduction: As there.
        name: Name of the loss.
        dtype: As in `keras.losses.Loss`; a type below float32 computes in float32 all the same.
        ignore_class: Class id of examples that do not count, or None; for class ids only.
        normalize: Of the weights on top, `"classes"` or `"examples"`.

    Attributes:
        class_weights: float32 `keras.Variable` `[C]`, not trainable, which
            `cb_keras.callbacks.ClassWeightScheduler` sets by epoch (deferred re-weighting).

    Call arguments:
        y_true: Class ids `[...]` or `[..., 1]`, or one-hot or soft labels `[..., C]`, as for
            `ClassBalancedSoftmaxCrossentropy`.
        y_pred: Cosines `[..., C]`.
        sample_weight: Optional, of the shape `[...]` of the losses or of its first axes.

    Raises:
        ValueError: An argument is out of range, a class has no examples, or (when called or
            traced) shapes do not fit.
        cb_keras.fused.FusedOpError: When called: `fused=True` can't be honoured; says why.

    Examples:
        >>> from cb_keras import losses
        >>> loss = losses.LDAMCrossentropy([16, 1], max_margin=0.5, scale=2.0)
        >>> [round(float(loss([c], [[0.0, 0.0]])), 4) for c in (0, 1)]  # margins 0.25 and 0.5
        [0.9741, 1.3133]

    Source: Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
    NeurIPS 2019, and its official code.
    """

    max_margin, scale = Fixed[float](), Fixed[float]()

    def __init__(
        self,
        class_counts: ByClass,
        max_margin: float = 0.5,
        scale: float = 30.0,
        *,
        beta: float = 0.9999,
        power: float = 0.0,
        class_weights: ByClass | None = None,
        fused: Fused = "auto",
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "ldam_crossentropy",
        dtype: Any = None,
        ignore_class: int | None = None,
        normalize: Normalize = "classes",
    ) -> None:
        super().__init__(
            class_counts,
            of_ldam(class_counts, max_margin, scale),
            beta=beta,
            power=power,
            class_weights=class_weights,
            fused=fused,
            reduction=reduction,
            name=name,
            dtype=dtype,
            ignore_class=ignore_class,
            normalize=normalize,
        )
        self.max_margin = float(max_margin)
        self.scale = float(scale)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same loss, with the class weights it has now."""
        config = super().get_config()
        del config["label_smoothing"]
        return {**config, "max_margin": self.max_margin, "scale": self.scale}
