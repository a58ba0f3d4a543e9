"""What the metrics of a number of classes share: their arguments and how they count a batch."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from cb_keras import private_api
from cb_keras.checks import (
    check_flag,
    check_ignore_class,
    check_ignored_label,
    check_whole_number,
)
from cb_keras.metrics.sums import RunningSum, counting_dtype
from cb_keras.scored import scored_examples, scored_labels


class Counted(NamedTuple):
    """One batch: what is to be added at which class, each `[M]`.

    Attributes:
        classes: Class of the label, int32.
        total: Weight of the example, where it counts.
        correct: The same where the prediction is right, else 0.
        predicted: Predicted class, int32.
        predicted_total: Weight of the prediction, where there is one.
    """

    classes: Any
    total: Any
    correct: Any
    predicted: Any
    predicted_total: Any


class ClassMetric(keras.metrics.Metric):
    """Base of the metrics of `num_classes` classes; larger is better."""

    def __init__(
        self,
        num_classes: int,
        name: str,
        dtype: Any,
        threshold: float | None,
        ignore_class: int | None,
        multi_label: bool = False,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        private_api.set_metric_direction(self, "up")
        self.num_classes = check_whole_number(
            "num_classes",
            num_classes,
            minimum=2,
            remedy="; for a model of one output use 2 and a `threshold`, 0.0 for logits or 0.5 for "
            "probabilities",
        )
        self.multi_label = check_flag("multi_label", multi_label)
        self.threshold = _check_threshold(threshold, self.num_classes, self.multi_label)
        check = check_ignored_label if self.multi_label else check_ignore_class
        self.ignore_class = check(ignore_class)
        self._count_dtype = counting_dtype(self.dtype)
        self.correct = self.add_sum("correct")
        self.total = self.add_sum("total")

    def add_sum(self, name: str) -> RunningSum:
        """One number a class, summed over the batches."""
        return RunningSum(self, name, self.num_classes, self._count_dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch."""
        self.add(self.counted(y_true, y_pred, sample_weight))

    def add(self, batch: Counted) -> None:
        """Adds what was counted of a batch."""
        self.total.add(batch.total, batch.classes)
        self.correct.add(batch.correct, batch.classes)

    def counted(self, y_true: Any, y_pred: Any, sample_weight: Any) -> Counted:
        """Reads a batch; with `multi_label` each label of an example is an example of its own."""
        read = (self.num_classes, self._count_dtype, self.threshold)
        if self.multi_label:
            of = scored_labels(y_true, y_pred, sample_weight, *read, self.ignore_class)
            zero = ops.zeros_like(of.weight)
            total = ops.where(of.positive, of.weight, zero)
            found = ops.where(of.predicted, of.weight, zero)
            correct = ops.where(of.predicted, total, zero)
            return Counted(of.labels, total, correct, of.labels, found)
        labels, predicted, _, weight = scored_examples(
            y_true, y_pred, sample_weight, *read, self.ignore_class
        )
        zero = ops.zeros_like(weight)
        correct = ops.where(ops.equal(labels, predicted), weight, zero)
        found = ops.where(predicted >= 0, weight, zero)
        # Not by `ops.maximum`, which makes floats of integers where floatx is bfloat16 on JAX.
        classes = ops.where(predicted < 0, ops.zeros_like(predicted), predicted)
        return Counted(labels, weight, correct, classes, found)

    def recall(self) -> tuple[Any, Any]:
        """Recall of each class `[C]`, 0 without examples, and whether it has examples."""
        total = self.total.value
        seen = ops.logical_not(total <= 0)  # a NaN is seen, and makes the mean NaN
        return self.correct.value / ops.where(seen, total, ops.ones_like(total)), seen

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same metric."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "threshold": self.threshold,
            "ignore_class": self.ignore_class,
        }


def mean_where(values: Any, counts: Any) -> Any:
    """Mean of the values that count, 0 where none does."""
    number = ops.sum(ops.cast(counts, values.dtype))
    return ops.sum(ops.where(counts, values, ops.zeros_like(values))) / ops.maximum(number, 1.0)


def _check_threshold(threshold: Any, num_classes: int, multi_label: bool) -> float | None:
    if threshold is None:
        if multi_label:
            raise ValueError(
                "`multi_label=True` needs a `threshold` above which a label is predicted: 0.0 for "
                "logits, 0.5 for probabilities."
            )
        return None
    if isinstance(threshold, bool) or not isinstance(threshold, int | float | np.number):
        raise ValueError(f"`threshold` must be a number or None, got {threshold!r}.")
    if not np.isfinite(threshold) or (num_classes != 2 and not multi_label):
        raise ValueError(
            f"`threshold` must be a finite number, for two classes, got {threshold!r} for "
            f"{num_classes}; 0.0 is for logits, 0.5 for probabilities."
        )
    return float(threshold)
