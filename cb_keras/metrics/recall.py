"""Means of the classes' recalls, and the recalls themselves."""

from typing import Any

import keras
import numpy as np
from keras import ops

from cb_keras import private_api
from cb_keras.checks import check_class_counts, check_whole_number, nan_where
from cb_keras.counts import ByClass
from cb_keras.metrics.base import ClassMetric, mean_where
from cb_keras.metrics.figures import shot_groups


@keras.saving.register_keras_serializable(package="cb_keras")
class BalancedAccuracy(ClassMetric):
    """Mean recall of the classes seen so far, for `model.compile(metrics=...)`.

    `recall_c = sum_i w_i [y_i = c][p_i = c] / sum_i w_i [y_i = c]` with the weights w_i of the
    examples; larger is better, which `EarlyStopping(monitor="val_balanced_accuracy")` knows.

    Args:
        num_classes: C, at least 2.
        name: Name of the metric.
        dtype: As in `keras.metrics.Metric`; a type below float32 counts in float32 all the same.
        threshold: For a model of one output and two classes: class 1 is predicted above it. 0.0
            for logits, 0.5 for probabilities.
        ignore_class: Class id of examples that count in nothing, such as 255 of void pixels; for
            labels that are class ids.

    Call arguments:
        y_true: Class ids `[...]` or `[..., 1]`, or one-hot or soft labels `[..., C]`, whose class
            is their largest entry.
        y_pred: Logits or probabilities `[..., C]`; with a threshold `[..., 1]` or `[N]`.
        sample_weight: Optional weight of each example, `[...]`; or of the first axes only, such
            as `[N]` or `[N, 1]` for `y_pred` `[N, T, C]`, for all examples in them.

    A Keras mask of `y_pred` leaves its examples out, as in Keras' own metrics; on JAX Keras loses
    the mask while it trains (not while it evaluates), so there the figure of the training data
    counts padding too. An example whose class id is not a whole number in `[0, C)`, or whose soft
    label is largest in no single class, is in no class, and counts in no recall; the losses are
    NaN for it. Multi-hot labels (two entries above 1/2) are refused; a compiled step, and on JAX
    every step of `fit` and `evaluate`, can't refuse them, and makes the result NaN. A weight of
    NaN makes it NaN too, and a prediction with a NaN is wrong.

    Raises:
        ValueError: `num_classes` is not a whole number >= 2; `threshold` is not a number or not
            of two classes; `ignore_class` is not a whole number; or, when updated, shapes or
            dtypes do not fit, or there is an `ignore_class` for labels `[..., C]`.

    Examples:
        >>> import cb_keras
        >>> metric = cb_keras.metrics.BalancedAccuracy(2)
        >>> metric.update_state([0, 0, 0, 1], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> round(float(metric.result()), 4)  # the mean of 2/3 and 1
        0.8333
    """

    def __init__(
        self,
        num_classes: int,
        name: str = "balanced_accuracy",
        dtype: Any = None,
        *,
        threshold: float | None = None,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(num_classes, name, dtype, threshold, ignore_class)

    def result(self) -> Any:
        """Mean recall, a scalar; 0 before the first example."""
        return mean_where(*self.recall())


@keras.saving.register_keras_serializable(package="cb_keras")
class GeometricMean(ClassMetric):
    """Geometric mean of the recalls of the classes seen so far, for `model.compile(metrics=...)`.

    `(prod_c recall_c)^(1/K)` over the K classes that have examples: 0 where a single class is
    never found. For two classes it is `sqrt(sensitivity * specificity)`.

    Args:
        num_classes: C, at least 2.
        name: Name of the metric, `"geometric_mean"`.
        dtype: As in `BalancedAccuracy`.
        threshold: As in `BalancedAccuracy`.
        ignore_class: As in `BalancedAccuracy`.

    Call arguments are those of `BalancedAccuracy`, and so is what masks, weights, NaN and labels
    of no class do.

    Raises:
        ValueError: As in `BalancedAccuracy`.

    Examples:
        >>> import cb_keras
        >>> metric = cb_keras.metrics.GeometricMean(2)
        >>> metric.update_state([0, 0, 0, 0, 1], [[1.0, 0.0]] + [[0.0, 1.0]] * 4)
        >>> round(float(metric.result()), 4)  # sqrt(1/4 * 1)
        0.5

    Source:
        Kubat & Matwin, "Addressing the Curse of Imbalanced Training Sets", ICML 1997.
    """

    def __init__(
        self,
        num_classes: int,
        name: str = "geometric_mean",
        dtype: Any = None,
        *,
        threshold: float | None = None,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(num_classes, name, dtype, threshold, ignore_class)

    def result(self) -> Any:
        """The mean, a scalar; 0 before the first example."""
        recall, seen = self.recall()
        never = ops.logical_and(seen, recall <= 0)
        factors = ops.where(ops.logical_or(never, ops.logical_not(seen)), 1.0, recall)
        mean = ops.exp(mean_where(ops.log(factors), seen))
        found = ops.logical_and(ops.any(seen), ops.logical_not(ops.any(never)))
        return mean * ops.cast(found, mean.dtype)  # a NaN stays one


@keras.saving.register_keras_serializable(package="cb_keras")
class ShotAccuracy(ClassMetric):
    """Mean recall of the many-, medium- or few-shot classes, for `model.compile(metrics=...)`.

    The mean is over the classes of the group that have been seen, with the groups of
    `cb_keras.metrics.shot_groups`; it is the `few_accuracy` of
    `cb_keras.metrics.classification_report`.

    Args:
        class_counts: Training examples per class, whole numbers >= 0 of shape `[C]`; a dict,
            Counter or pandas Series is read by class.
        group: `"many"`, `"medium"` or `"few"`.
        name: Name of the metric; by default `"few_accuracy"`, with the name of the group.
        dtype: As in `BalancedAccuracy`.
        threshold: As in `BalancedAccuracy`.
        ignore_class: As in `BalancedAccuracy`.

    Call arguments are those of `BalancedAccuracy`, and so is what masks, weights, NaN and labels
    of no class do.

    Raises:
        ValueError: As in `BalancedAccuracy`; or `class_counts` are not one whole number >= 0 a
            class, `group` is none of the three, or has no classes.

    Examples:
        >>> import cb_keras
        >>> metric = cb_keras.metrics.ShotAccuracy([900, 90, 9], group="few")
        >>> metric.update_state([0, 2, 2], [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
        >>> metric.name, float(metric.result())
        ('few_accuracy', 0.5)
    """

    def __init__(
        self,
        class_counts: ByClass,
        group: str = "few",
        name: str | None = None,
        dtype: Any = None,
        *,
        threshold: float | None = None,
        ignore_class: int | None = None,
    ) -> None:
        counts = check_class_counts(class_counts, minimum=0)
        groups, _ = shot_groups(counts)
        filled = [g for g, classes in groups.items() if classes]
        if group not in filled:
            why = f"has no classes for the counts {counts.astype(int).tolist()}"
            why = why if group in groups else f"must be one of {list(groups)}"
            raise ValueError(f"`group`={group!r} {why}; the groups with classes are {filled}.")
        super().__init__(len(counts), name or f"{group}_accuracy", dtype, threshold, ignore_class)
        self.class_counts = [int(n) for n in counts]
        self.group = group
        self._in_group = np.isin(np.arange(len(counts)), groups[group])

    def result(self) -> Any:
        """Mean recall, a scalar; NaN while no class of the group has an example."""
        recall, seen = self.recall()
        seen = ops.logical_and(seen, ops.convert_to_tensor(self._in_group))
        return nan_where(ops.logical_not(ops.any(seen)), mean_where(recall, seen))

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same metric."""
        config = super().get_config()
        del config["num_classes"]
        return {**config, "class_counts": self.class_counts, "group": self.group}


@keras.saving.register_keras_serializable(package="cb_keras")
class PerClassRecall(ClassMetric):
    """Recall of one class, or of each, for `model.compile(metrics=...)`.

    `recall_c = sum_i w_i [y_i = c][p_i = c] / sum_i w_i [y_i = c]`. With a `class_id` the result
    is a scalar, usable as `monitor="val_recall_3"`. Without one it is a dict of scalars,
    `{"recall_0": ..., "recall_1": ...}`, which `fit` and `evaluate(return_dict=True)` put into
    their logs as figures of their own; a callback that monitors one of these needs `mode="max"`.

    Args:
        num_classes: C, at least 2; the number of labels with `multi_label`.
        class_id: The class, in `[0, C)`; None for all of them.
        name: Name of the metric; by default `"recall"`, with a class id `"recall_3"`. Without a
            class id the figures are named `name_0`, `name_1`, ... In a model of several outputs
            the output's name comes first, `species_recall_0`, and where `metrics=` and
            `weighted_metrics=` have the same name, the latter's is `weighted_recall_0`, as Keras
            names figures of one number. In a training loop of your own, give each its own `name`.
        dtype: As in `BalancedAccuracy`.
        threshold: As in `MacroF1`. With one output class 1's recall is the sensitivity, class 0's
            the specificity.
        ignore_class: As in `MacroF1`.
        multi_label: As in `MacroF1`: `recall_l` is then that of label l.

    Call arguments are those of `MacroF1`, and what masks, weights, NaN and labels of no class do
    is as in `BalancedAccuracy`.

    Raises:
        ValueError: As in `MacroF1`; or `class_id` is not a class.

    Examples:
        >>> import cb_keras
        >>> metric = cb_keras.metrics.PerClassRecall(2)
        >>> metric.update_state([0, 0, 1], [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> {name: float(recall) for name, recall in metric.result().items()}
        {'recall_0': 0.5, 'recall_1': 1.0}
    """

    def __init__(
        self,
        num_classes: int,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        *,
        threshold: float | None = None,
        ignore_class: int | None = None,
        multi_label: bool = False,
    ) -> None:
        if class_id is not None:
            class_id = check_whole_number("class_id", class_id, 0)
        default = "recall" if class_id is None else f"recall_{class_id}"
        super().__init__(num_classes, name or default, dtype, threshold, ignore_class, multi_label)
        if class_id is not None and class_id >= self.num_classes:
            raise ValueError(f"`class_id` must be in [0, {self.num_classes}), got {class_id}.")
        self.class_id = class_id

    def result(self) -> Any:
        """The recall, a scalar, or a dict of name to scalar; NaN without an example."""
        recall, seen = self.recall()
        recall = nan_where(ops.logical_not(seen), recall)
        if self.class_id is not None:
            return recall[self.class_id]
        name = private_api.name_in_logs(self)
        return {f"{name}_{c}": recall[c] for c in range(self.num_classes)}

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same metric."""
        own = {"class_id": self.class_id, "multi_label": self.multi_label}
        return {**super().get_config(), **own}
