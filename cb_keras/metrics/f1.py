"""F1 of the classes."""

from typing import Any

import keras
from keras import ops

from cb_keras.metrics.base import ClassMetric, Counted, mean_where


@keras.saving.register_keras_serializable(package="cb_keras")
class MacroF1(ClassMetric):
    """Mean F1 of the classes, for `model.compile(metrics=...)`.

    `F1_c = 2 TP_c / (labels of c + predictions of c)`, sums of weights. The mean is over the
    classes that are among the labels or the predictions, as in scikit-learn's
    `f1_score(average="macro")`; with `multi_label` over all labels, one without any positive
    counting as 0, as there too.

    Args:
        num_classes: C, at least 2; the number of labels with `multi_label`.
        name: Name of the metric, `"macro_f1"`.
        dtype: As in `BalancedAccuracy`.
        threshold: For a model of one output and two classes: class 1 is predicted above it; with
            `multi_label` each label whose output is above it. 0.0 for logits, 0.5 for
            probabilities.
        ignore_class: Class id of examples that count in nothing, such as 255 of void pixels; with
            `multi_label` what a label is that is not known, such as -1, neither 0 nor 1.
        multi_label: Whether labels are multi-hot `[..., C]`; it needs a `threshold`.

    Call arguments:
        y_true: As in `BalancedAccuracy`; with `multi_label` numbers in [0, 1] of the shape of
            `y_pred`, positive above 1/2.
        y_pred: As in `BalancedAccuracy`.
        sample_weight: As in `BalancedAccuracy`; with `multi_label` it may also be of each label,
            `[..., C]`.

    Masks and examples without a class are treated as in `BalancedAccuracy`; such an example's
    prediction doesn't count either.

    Raises:
        ValueError: As in `BalancedAccuracy`; or `multi_label` without a threshold, or with an
            `ignore_class` of 0 or 1.

    Examples:
        >>> import cb_keras
        >>> metric = cb_keras.metrics.MacroF1(3)
        >>> metric.update_state([0, 0, 1], [[2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
        >>> round(float(metric.result()), 4)  # 2/3 of classes 0 and 1; class 2 is nowhere
        0.6667
    """

    def __init__(
        self,
        num_classes: int,
        name: str = "macro_f1",
        dtype: Any = None,
        *,
        threshold: float | None = None,
        ignore_class: int | None = None,
        multi_label: bool = False,
    ) -> None:
        super().__init__(num_classes, name, dtype, threshold, ignore_class, multi_label)
        self.predicted = self.add_sum("predicted")

    def add(self, batch: Counted) -> None:
        """Adds what was counted of a batch, the predictions of each class too."""
        super().add(batch)
        self.predicted.add(batch.predicted_total, batch.predicted)

    def result(self) -> Any:
        """Mean F1, a scalar; 0 before the first example."""
        both = self.total.value + self.predicted.value
        present = ops.logical_not(both <= 0)  # a NaN is present, and makes the mean NaN
        f1 = 2.0 * self.correct.value / ops.where(present, both, ops.ones_like(both))
        return ops.mean(f1) if self.multi_label else mean_where(f1, present)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same metric."""
        return {**super().get_config(), "multi_label": self.multi_label}
