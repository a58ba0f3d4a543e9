"""How far a model's confidence is from its accuracy."""

from typing import Any

import keras
import numpy as np
from keras import ops

from cb_keras import private_api
from cb_keras.checks import (
    check_flag,
    check_ignore_class,
    check_whole_number,
    nan_where,
    warn_of_activation,
)
from cb_keras.metrics.sums import RunningSum, counting_dtype
from cb_keras.scored import scored_examples, seen


@keras.saving.register_keras_serializable(package="cb_keras")
class ExpectedCalibrationError(keras.metrics.Metric):
    """Expected calibration error, for `model.compile(metrics=...)`; smaller is better.

    `ECE = sum_b W_b / W |accuracy_b - confidence_b|`: examples are in B bins of equal width by
    the confidence of their prediction, bin b holds `(b/B, (b+1)/B]` (and the first also 0), and
    W_b is the weight of its examples. The confidence is the largest probability, of one output p
    it is `max(p, 1 - p)`; the prediction is the class that has it.

    Args:
        num_bins: B, at least 1.
        from_logits: Whether `y_pred` are logits, whose softmax, or sigmoid of one output, are the
            probabilities. A model of C sigmoids has `False` and gives its probabilities, of which
            the largest is the confidence.
        name: Name of the metric, `"ece"`.
        dtype: As in `BalancedAccuracy`.
        ignore_class: As in `BalancedAccuracy`.

    Call arguments:
        y_true: Class ids `[...]` or `[..., 1]`, or one-hot or soft labels `[..., C]`; for one
            output 0 or 1, `[...]` or `[..., 1]`.
        y_pred: Logits or probabilities `[..., C]`, or of one output `[..., 1]` or `[N]`.
        sample_weight: As in `BalancedAccuracy`.

    Masks, weights and labels of no class are treated as in `BalancedAccuracy`. A prediction with a
    NaN has no confidence and makes the result NaN.

    Raises:
        ValueError: `num_bins` is not a whole number >= 1, `from_logits` not a bool; or, when
            updated, shapes or dtypes do not fit, or with `from_logits=False` predictions are not
            in [0, 1], where values can be seen. In a compiled step these make the result NaN.

    Examples:
        >>> import cb_keras
        >>> metric = cb_keras.metrics.ExpectedCalibrationError(from_logits=False)
        >>> metric.update_state([0, 0, 1], [[0.9, 0.1], [0.3, 0.7], [0.3, 0.7]])
        >>> round(float(metric.result()), 4)  # (|1 - 0.9| + |1 - 1.4|) / 3
        0.1667

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """

    def __init__(
        self,
        num_bins: int = 15,
        from_logits: bool = True,
        name: str = "ece",
        dtype: Any = None,
        *,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        private_api.set_metric_direction(self, "down")
        self.num_bins = check_whole_number("num_bins", num_bins, 1)
        self.from_logits = check_flag("from_logits", from_logits)
        self.ignore_class = check_ignore_class(ignore_class)
        self._count_dtype = counting_dtype(self.dtype)
        self._looks_at_values = True
        self.total = RunningSum(self, "total", self.num_bins, self._count_dtype)
        # Accuracy minus confidence stays small, so its sum is rounded less than those of both.
        self.gap = RunningSum(self, "gap", self.num_bins, self._count_dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch."""
        y_pred = y_pred if hasattr(y_pred, "shape") else np.asarray(y_pred)
        if self.from_logits and warn_of_activation(y_pred, self._looks_at_values):
            self._looks_at_values = False
        shape = tuple(y_pred.shape)
        one_output = len(shape) == 1 or shape[-1:] == (1,)
        threshold = (0.0 if self.from_logits else 0.5) if one_output else None
        num_classes = 2 if one_output or not shape else shape[-1]
        labels, predicted, rows, weight = scored_examples(
            y_true,
            y_pred,
            sample_weight,
            num_classes,
            self._count_dtype,
            threshold,
            self.ignore_class,
        )
        counts = ops.not_equal(weight, 0)
        confidence = self._confidence(ops.cast(rows, self._count_dtype), predicted, counts)
        correct = ops.cast(ops.equal(labels, predicted), self._count_dtype)
        gap = ops.where(counts, weight * (correct - confidence), ops.zeros_like(weight))
        bins = self._bins(confidence)
        self.total.add(weight, bins)
        self.gap.add(gap, bins)

    def _bins(self, confidence: Any) -> Any:
        """Bin of each confidence, int32; its product with B may be rounded over an edge."""
        known = ops.where(ops.isnan(confidence), ops.zeros_like(confidence), confidence)
        edges = ops.cast(np.arange(self.num_bins + 1) / self.num_bins, self._count_dtype)
        bins = ops.cast(ops.ceil(known * self.num_bins), "int32") - 1
        bins = ops.clip(bins, 0, self.num_bins - 1)
        above = ops.cast(known > ops.take(edges, bins + 1), "int32")
        below = ops.cast(known <= ops.take(edges, bins), "int32")
        return ops.clip(bins + above - below, 0, self.num_bins - 1)

    def _confidence(self, rows: Any, predicted: Any, counts: Any) -> Any:
        """Probability of the predictions `[M, C]` or `[M, 1]`; NaN where it is none."""
        one_output = rows.shape[-1] == 1
        zero = ops.zeros_like(predicted)
        place = zero if one_output else ops.where(predicted < 0, zero, predicted)
        chosen = ops.take_along_axis(rows, ops.expand_dims(place, -1), axis=-1)
        if self.from_logits:
            if one_output:
                return ops.sigmoid(ops.abs(rows[:, 0]))
            return 1.0 / ops.sum(ops.exp(rows - chosen), axis=-1)
        strange = ops.any(ops.logical_or(rows < 0, rows > 1), axis=-1)
        number = seen(ops.sum(ops.cast(ops.logical_and(strange, counts), "int32")))
        if number:
            raise ValueError(
                f"`y_pred` holds {int(number)} predictions that are not in [0, 1], but with "
                "from_logits=False they are probabilities: for logits give from_logits=True."
            )
        p = chosen[:, 0]
        p = ops.maximum(p, 1.0 - p) if one_output else p
        return nan_where(ops.logical_or(predicted < 0, strange), p)

    def result(self) -> Any:
        """The error, a scalar in [0, 1]; 0 before the first example."""
        total = ops.sum(self.total.value)
        some = ops.logical_not(total <= 0)
        return ops.sum(ops.abs(self.gap.value)) / ops.where(some, total, ops.ones_like(total))

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same metric."""
        return {
            **super().get_config(),
            "num_bins": self.num_bins,
            "from_logits": self.from_logits,
            "ignore_class": self.ignore_class,
        }
