"""What the losses share that change the logits by the class counts."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from cb_keras.checks import check_class_weights, check_label_smoothing
from cb_keras.counts import ByClass
from cb_keras.functional.logit_side import Adjustment, counts_of_all, logit_side
from cb_keras.functional.preparation import Prepared
from cb_keras.losses.arguments import BETA, POWER, assigned_weights, at_least_float32
from cb_keras.losses.base import ClassBalancedLoss, Fused, FusedForm, Reduction
from cb_keras.losses.fixed import Fixed
from cb_keras.weights import Normalize, constant_variable


class LogitSideLoss(ClassBalancedLoss):
    """Base of the losses of logits that the class counts change, whose weights are 1 by default.

    A subclass gives `adjustment`.
    """

    label_smoothing = Fixed[float]()

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
        self._adjustment = Adjustment(*(constant(value, dtype) for value in adjustment))
        self._adjusts, rows = _for_the_op(adjustment, counts.size)
        self._rows = constant_variable(rows, "adjustment") if self._adjusts else None
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
        self.__dict__["class_counts"] = [int(count) for count in counts]
        self._weights_are_given = given
        if given:
            self.__dict__["power"] = 0.0  # those given are used as they are

    def _formula(self, prepared: Prepared) -> Any:
        return logit_side(prepared, self._adjustment, self.label_smoothing)

    def _fused_form(self, sparse: bool = True) -> FusedForm | None:
        if not sparse and self._adjustment.margin is not None:
            return None  # dense labels mix losses that each have another margin
        return FusedForm("softmax", 0.0, self.label_smoothing, self._adjusts)

    def _class_arrays(self) -> Any:
        weights = super()._class_arrays()
        if self._rows is None:
            return weights
        rows = ops.convert_to_tensor(self._rows)
        return ops.concatenate([ops.expand_dims(weights, 0), rows])

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


def constant(value: Any, dtype: Any) -> Any:
    """An array `[C]` of a loss as formulas take it; anything else as it is.

    PyTorch's compiler can't follow what Keras makes of a numpy array there: it breaks the graph.
    """
    if keras.backend.backend() != "torch" or not isinstance(value, np.ndarray):
        return value
    return constant_variable(value, "of_classes", at_least_float32(dtype))


def _for_the_op(adjustment: Adjustment, classes: int) -> tuple[int, NDArray[np.float32]]:
    """Bits of `cb_keras.fused.kinds.ADJUSTMENTS`, and as many rows `[n, C]` of what they name.

    What changes nothing, such as factors of 1, is left out.
    """
    nothing = Adjustment(factor=1.0, offset=0.0, margin=0.0)
    adjusts, rows = 0, []
    for bit, value, neutral in zip((1, 2, 4), adjustment, nothing, strict=True):
        if value is None or np.all(value == neutral):
            continue
        adjusts |= bit
        rows.append(np.broadcast_to(np.asarray(value, np.float32), classes))
    return adjusts, np.array(rows)


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
