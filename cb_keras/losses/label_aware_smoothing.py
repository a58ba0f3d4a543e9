"""Cross-entropy with labels that are smoothed by the size of their class."""

from typing import Any

import keras

from cb_keras.counts import ByClass
from cb_keras.functional.label_aware import label_aware, smoothing_by_class
from cb_keras.functional.logit_side import Adjustment
from cb_keras.functional.preparation import Prepared
from cb_keras.losses.base import Fused, FusedForm, Reduction
from cb_keras.losses.fixed import Fixed
from cb_keras.losses.logit_side import LogitSideLoss, constant
from cb_keras.weights import Normalize


@keras.saving.register_keras_serializable(package="cb_keras")
class LabelAwareSmoothingCrossentropy(LogitSideLoss):
    """Label-aware smoothing, `(1 - e_y) CE_y + e_y mean_c CE_c`: common classes are smoothed more.

    `e_y = tail + (head - tail) sin(pi/2 (n_y - n_min) / (n_max - n_min))`, so that a network is
    less sure of the classes that it has seen most. It belongs to the second stage of MiSLAS, where
    the trunk is frozen and the classes come equally often.

    Args:
        class_counts: Training examples per class, shape `[C]`, integers >= 1, counted from the
            labels that the model trains on. A dict, Counter or pandas Series is read by class.
        head: Share in [0, 1] of the largest class's labels that is spread over all classes.
        tail: Share in [0, 1] of the smallest class's.
        beta: Of the class-balanced weights on top, in `[0, 1]`; without effect at `power` 0.
        power: Power of the class-balanced weights on top; 0 (default): every class has weight 1.
        class_weights: `[C]`, finite and >= 0, in place of those that `beta` and `power` make.
        fused: As in `ClassBalancedSoftmaxCrossentropy`; the native op does not have this loss.
        reduction: As there.
        name: Name of the loss.
        dtype: As in `keras.losses.Loss`; a type below float32 computes in float32 all the same.
        ignore_class: Class id of examples that do not count, or None; for class ids only.
        normalize: Of the weights on top, `"classes"` or `"examples"`.

    Attributes:
        class_weights: float32 `keras.Variable` `[C]`, not trainable, which
            `cb_keras.callbacks.ClassWeightScheduler` sets by epoch.

    Call arguments:
        y_true: Class ids `[...]` or `[..., 1]`, or one-hot or soft labels `[..., C]`, as for
            `ClassBalancedSoftmaxCrossentropy`.
        y_pred: Logits `[..., C]`.
        sample_weight: Optional, of the shape `[...]` of the losses or of its first axes.

    Raises:
        ValueError: An argument is out of range, a class has no examples, or (when called or
            traced) shapes do not fit.
        cb_keras.fused.FusedOpError: When called: `fused=True` can't be honoured; says why.

    Examples:
        >>> from cb_keras import losses
        >>> loss = losses.LabelAwareSmoothingCrossentropy([9, 1], head=0.5)
        >>> [round(float(loss([c], [[2.0, 2.0]])), 4) for c in (0, 1)]  # log 2, however smoothed
        [0.6931, 0.6931]
        >>> [round(float(loss([c], [[2.0, 0.0]])), 4) for c in (0, 1)]  # 0.1269 without, and 2.1269
        [0.6269, 2.1269]

    Source: Zhong et al., "Improving Calibration for Long-Tailed Recognition", CVPR 2021, and its
    official code, which spreads the share over all classes; the paper over all but the own.
    """

    head, tail = Fixed[float](), Fixed[float]()

    def __init__(
        self,
        class_counts: ByClass,
        head: float = 0.3,
        tail: float = 0.0,
        *,
        beta: float = 0.9999,
        power: float = 0.0,
        class_weights: ByClass | None = None,
        fused: Fused = "auto",
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "label_aware_smoothing_crossentropy",
        dtype: Any = None,
        ignore_class: int | None = None,
        normalize: Normalize = "classes",
    ) -> None:
        self._smoothing = constant(smoothing_by_class(class_counts, head, tail), dtype)
        super().__init__(
            class_counts,
            Adjustment(),
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
        self.head = float(head)
        self.tail = float(tail)

    def _formula(self, prepared: Prepared) -> Any:
        return label_aware(prepared, self._smoothing)

    def _fused_form(self, sparse: bool = True) -> FusedForm | None:
        return None

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same loss, with the class weights it has now."""
        config = super().get_config()
        del config["label_smoothing"]
        return {**config, "head": self.head, "tail": self.tail}
