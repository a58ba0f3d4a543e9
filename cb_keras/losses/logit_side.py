"""What the losses share that change the logits by the class counts."""

from typing import Any

from cb_keras.checks import check_class_weights, check_label_smoothing
from cb_keras.counts import ByClass
from cb_keras.functional.logit_side import Adjustment, adjusted, counts_of_all
from cb_keras.functional.preparation import Prepared
from cb_keras.functional.softmax import softmax
from cb_keras.losses.base import (
    BETA,
    POWER,
    ClassBalancedLoss,
    Fused,
    FusedForm,
    Reduction,
    assigned_weights,
)
from cb_keras.weights import Normalize


class LogitSideLoss(ClassBalancedLoss):
    """Base of the losses of logits that the class counts change, whose weights are 1 by default.

    A subclass gives `adjustment`; margins need a `_formula` of their own.
    """

    def __init__(
        self,
        class_counts: ByClass,
        adjustment: Adjustment,
        *,
        beta: float,
        power: float,
        class_weights: ByClass | None,
        fused: Fused,
        reduction: Reduction | None,
        name: str,
        dtype: Any,
        ignore_class: int | None,
        normalize: Normalize,
        label_smoothing: float = 0.0,
    ) -> None:
        counts = counts_of_all(class_counts)
        self._adjustment = adjustment
        self.label_smoothing = check_label_smoothing(label_smoothing)
        given = class_weights is not None
        if class_weights is not None:
            _check_alone(beta, power, normalize)
            check_number_of_weights(class_weights, counts.size)
        super().__init__(
            class_counts=None if given else counts,
            beta=BETA if given else beta,
            power=POWER if given else power,
            class_weights=class_weights,
            from_logits=True,
            fused=fused,
            reduction=reduction,
            name=name,
            dtype=dtype,
            ignore_class=ignore_class,
            normalize=normalize,
        )
        self.class_counts = [int(count) for count in counts]
        self._weights_are_given = given
        if given:
            self.beta, self.power = BETA, 0.0

    def _logits_in_training(self, labels: Any, logits: Any, sparse: bool) -> Any:
        return adjusted(self._adjustment, labels, logits, sparse)

    def _formula(self, prepared: Prepared) -> Any:
        return softmax(prepared, label_smoothing=self.label_smoothing)

    def _fused_form(self) -> FusedForm | None:
        return FusedForm("softmax", label_smoothing=self.label_smoothing)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same loss, with the class weights it has now."""
        config = super().get_config()
        for name in ("from_logits", "empty"):
            del config[name]
        weights = self._initial_weights.tolist() if self._weights_are_given else None
        config |= {"class_counts": self.class_counts, "class_weights": weights}
        if assigned := assigned_weights(self.class_weights, self._initial_weights):
            config |= {"class_weights": assigned["class_weights"], "beta": BETA, "power": 0.0}
            config["normalize"] = "classes"
        return {**config, "label_smoothing": self.label_smoothing}


def _check_alone(beta: float, power: float, normalize: Normalize) -> None:
    """Raises ValueError where what makes weights of counts is given next to `class_weights`."""
    if (beta, power, normalize) != (BETA, 0.0, "classes"):
        raise ValueError(
            f"`beta`={beta}, `power`={power} and `normalize`={normalize!r} have no effect on "
            "`class_weights`, which are used as they are: leave them at their defaults."
        )


def check_number_of_weights(class_weights: ByClass, number: int) -> None:
    """Raises ValueError unless there is one class weight for each of the counts."""
    weights = check_class_weights("class_weights", class_weights)
    if weights.size != number:
        raise ValueError(
            f"`class_weights` has {weights.size} classes, `class_counts` has {number}: give one "
            "weight for each class."
        )
