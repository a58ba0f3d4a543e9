"""Class-balanced binary cross-entropy."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike, NDArray

from cb_keras.checks import (
    check_beta,
    check_gamma,
    check_label_smoothing,
    check_pairs_of_counts,
    check_pairs_of_weights,
    check_power,
)
from cb_keras.functional.binary import binary
from cb_keras.functional.preparation import Prepared
from cb_keras.losses.arguments import (
    WithClassWeights,
    assigned_weights,
    check_either,
    check_no_effect,
)
from cb_keras.losses.base import Fused, Reduction
from cb_keras.losses.fixed import Fixed
from cb_keras.losses.per_label import PerLabelLoss
from cb_keras.weights import constant_variable, pairs_of_weights


@keras.saving.register_keras_serializable(package="cb_keras")
class ClassBalancedBinaryCrossentropy(WithClassWeights, PerLabelLoss):
    """Class-balanced binary cross-entropy of one output, or of L labels that are each a yes or no.

    `sum_l [ y_l w1_l (1 - p_l)^gamma * -log p_l + (1 - y_l) w0_l p_l^gamma * -log(1 - p_l) ]` with
    `p = sigmoid(z)`. w0 and w1 are the class-balanced weights of a label's own two counts, of the
    sum 2. A soft label mixes the two terms.

    Args:
        class_counts: `[n_negative, n_positive]` of one output, or such a pair per label, `[L, 2]`,
            integers >= 1, counted from the labels that the model trains on by
            `cb_keras.binary_counts`.
        gamma: Focusing parameter, a finite float >= 0; 0 (default) is binary cross-entropy.
        beta: Float in `[0, 1]`; `1 - 1/N` for a prototype volume N. 1 is inverse frequency.
        power: Power of the class-balanced term, any finite float: 0 none, 0.5 square root,
            1 class-balanced, 2 squared.
        class_weights: `[w_negative, w_positive]` or `[L, 2]`, finite and >= 0, in place of
            `class_counts` (and of `beta` and `power`), used as they are.
        from_logits: Whether `y_pred` are logits (default) or probabilities.
        label_smoothing: Share s in `[0, 1]`: a label counts s/2 as its opposite, under the weight
            of what it is.
        ignore_class: Label of those that are not known, such as -1: they have loss and gradient 0,
            the others of their example count. Not 0 or 1. None (default): all count.
        fused: `"auto"` (default) or False; the native op does not have this loss.
        reduction: `"sum_over_batch_size"` (default; divides by the number of examples, not of
            labels), `"mean"`, `"sum"`, `"mean_with_sample_weight"` or None.
        name: Name of the loss.
        dtype: As in `keras.losses.Loss`; a type below float32 computes in float32 all the same.

    Attributes:
        class_weights: float32 `keras.Variable` of shape `[2]` or `[L, 2]`, not trainable.
            Assigning to it changes the loss from the next step on; on JAX use
            `cb_keras.callbacks.ClassWeightScheduler`, which works everywhere.
        gamma: The focusing parameter.

    Call arguments:
        y_true: 0/1 labels, or soft ones in between: `[..., L]`, of one output also `[...]`. One
            outside of `[0, 1]`, or NaN, is refused where its value can be seen (TensorFlow but
            under XLA, and eager JAX and PyTorch on the CPU); elsewhere its example's loss is NaN.
        y_pred: `[..., L]`, of one output `[..., 1]` or `[N]`; taken as it is: with
            `from_logits=True` never the output of a sigmoid.
        sample_weight: Optional, of the shape `[...]` of the losses or of its first axes. An
            example of weight 0, or that a Keras mask leaves out, has loss 0 and gradient 0
            whatever its labels and logits are.

    Raises:
        ValueError: An argument is out of range, both or neither of `class_counts` and
            `class_weights` are given, or (when called or traced) shapes do not fit.

    Examples:
        >>> from keras import ops
        >>> from cb_keras import losses
        >>> loss = losses.ClassBalancedBinaryCrossentropy([9, 1], beta=1.0)
        >>> [round(float(w), 4) for w in ops.convert_to_numpy(loss.class_weights)]
        [0.2, 1.8]
        >>> round(float(loss([0, 1], [[0.0], [0.0]])), 4)  # (0.2 + 1.8) / 2 * log 2
        0.6931
        >>> labels = losses.ClassBalancedBinaryCrossentropy([[9, 1], [5, 5]], beta=1.0)
        >>> round(float(labels([[1, 0]], [[0.0, 0.0]])), 4)  # (1.8 + 1) * log 2
        1.9408

        It goes into `model.compile(optimizer, loss)` like a loss of Keras.

    Source: Cui et al., CVPR 2019, equations 9 and 11, of two classes; powers other than 1: Park &
    Hwang 2022.
    """

    class_counts = Fixed[list[Any] | None]()
    beta, power = Fixed[float](), Fixed[float]()
    gamma, label_smoothing = Fixed[float](), Fixed[float]()

    def __init__(
        self,
        class_counts: ArrayLike | None = None,
        gamma: float = 0.0,
        *,
        beta: float = 0.9999,
        power: float = 1.0,
        class_weights: ArrayLike | None = None,
        from_logits: bool = True,
        label_smoothing: float = 0.0,
        ignore_class: int | None = None,
        fused: Fused = "auto",
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "class_balanced_binary_crossentropy",
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
        check_either(class_counts, class_weights)
        self.gamma = check_gamma(gamma)
        self.beta, self.power = check_beta(beta), check_power(power)
        self.label_smoothing = check_label_smoothing(label_smoothing)
        self.class_counts, self._initial_weights = self._counts_and_weights(
            class_counts, class_weights
        )
        self._class_weights = constant_variable(self._initial_weights, "class_weights")

    def _checked_weights(self, value: Any) -> NDArray[np.float32]:
        weights = check_pairs_of_weights("class_weights", value)
        if weights.shape != self._initial_weights.shape:
            raise ValueError(
                f"`class_weights` has the shape {weights.shape}, that of the loss is "
                f"{self._initial_weights.shape}."
            )
        return weights

    def _counts_and_weights(
        self, class_counts: Any, class_weights: Any
    ) -> tuple[list[Any] | None, NDArray[np.float32]]:
        if class_counts is None:
            check_no_effect(self.beta, self.power)
            return None, check_pairs_of_weights("class_weights", class_weights)
        counts = check_pairs_of_counts(class_counts)
        return counts.astype("int64").tolist(), pairs_of_weights(counts, self.beta, self.power)

    def _num_labels(self) -> int:
        return self._initial_weights.size // 2

    def _weights(self) -> Any:
        return ops.convert_to_tensor(self.class_weights)

    def _formula(self, prepared: Prepared) -> Any:
        return binary(prepared, self.gamma, self.from_logits, self.label_smoothing)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same loss, with the weights it has now."""
        config = {
            **super().get_config(),
            "class_counts": self.class_counts,
            "gamma": self.gamma,
            "beta": self.beta,
            "power": self.power,
            "class_weights": None if self.class_counts else self._initial_weights.tolist(),
            "label_smoothing": self.label_smoothing,
        }
        return config | assigned_weights(self.class_weights, self._initial_weights)
