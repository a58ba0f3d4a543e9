"""Vector-scaling loss, of which CDT is a case."""

from typing import Any

import keras

from cb_keras.counts import ByClass
from cb_keras.functional.logit_side import of_vector_scaling
from cb_keras.losses.base import Fused, Reduction
from cb_keras.losses.fixed import Fixed
from cb_keras.losses.logit_side import LogitSideLoss
from cb_keras.weights import Normalize


@keras.saving.register_keras_serializable(package="cb_keras")
class VectorScalingCrossentropy(LogitSideLoss):
    """Softmax loss of scaled and adjusted logits, `CE((n_c / n_max)^gamma z_c + tau log pi_c, y)`.

    The logits of rare classes are shrunk in training, so that the network makes them larger; its
    own logits z are what accuracy and exports take. With `tau` 0 it is CDT, with `gamma` 0 logit
    adjustment.

    Args:
        class_counts: Training examples per class, shape `[C]`, integers >= 1, counted from the
            labels that the model trains on. A dict, Counter or pandas Series is read by class.
        gamma: Power of the factors, >= 0; published for CIFAR are 0.05 to 0.2.
        tau: Factor of the logarithm of the class frequencies, >= 0; published are 1 to 1.2.
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
        >>> loss = losses.VectorScalingCrossentropy([4, 1], gamma=0.5, tau=0.0)
        >>> round(float(loss([1], [[0.0, 2.0]])), 4)  # its logit counts half: log(1 + e^-1)
        0.3133

    Source: Kini et al., "Label-Imbalanced and Group-Sensitive Classification under
    Overparameterization", NeurIPS 2021, equation 3; Ye et al. 2020 (CDT).
    """

    gamma, tau = Fixed[float](), Fixed[float]()

    def __init__(
        self,
        class_counts: ByClass,
        gamma: float = 0.2,
        tau: float = 1.2,
        *,
        beta: float = 0.9999,
        power: float = 0.0,
        class_weights: ByClass | None = None,
        fused: Fused = "auto",
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "vector_scaling_crossentropy",
        dtype: Any = None,
        label_smoothing: float = 0.0,
        ignore_class: int | None = None,
        normalize: Normalize = "classes",
    ) -> None:
        super().__init__(
            class_counts,
            of_vector_scaling(class_counts, gamma, tau),
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
        self.gamma = float(gamma)
        self.tau = float(tau)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same loss, with the class weights it has now."""
        return {**super().get_config(), "gamma": self.gamma, "tau": self.tau}
