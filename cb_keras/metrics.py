"""Accuracy figures of long-tailed classification."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike, NDArray

from cb_keras import private_api
from cb_keras.checks import check_class_counts, check_whole_number
from cb_keras.counts import ByClass, matrix_by_class
from cb_keras.scored import scored_examples

MANY_SHOT_ABOVE = 100
FEW_SHOT_BELOW = 20


def confusion_matrix(
    labels: ArrayLike, predictions: ArrayLike, num_classes: int
) -> NDArray[np.int64]:
    """Counts of (label, predicted class) pairs.

    Args:
        labels: Class ids, integers `[N]` in `[0, C)`.
        predictions: Predicted class ids, integers `[N]` in `[0, C)`.
        num_classes: C.

    Returns:
        int64 numpy array `[C, C]`; row = label, column = prediction.

    Raises:
        ValueError: The lengths differ or an id is out of range.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    num_classes = check_whole_number("num_classes", num_classes, 1, below=2**31)
    for name, ids in (("labels", labels), ("predictions", predictions)):
        if ids.size and ids.dtype.kind not in "iu":
            raise ValueError(f"`{name}` must be integers, got dtype {ids.dtype}.")
    if labels.shape != predictions.shape or labels.ndim != 1:
        raise ValueError(
            f"`labels` {labels.shape} and `predictions` {predictions.shape} must both be [N]."
        )
    for name, ids in (("labels", labels), ("predictions", predictions)):
        if ids.size and not 0 <= ids.min() <= ids.max() < num_classes:
            raise ValueError(
                f"`{name}` must be in [0, {num_classes}), found {ids.min()} to {ids.max()}."
            )
    pairs = labels.astype("int64") * num_classes + predictions.astype("int64")
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def per_class_accuracy(confusion: ArrayLike) -> NDArray[np.float64]:
    """Recall of each class, float64 `[C]`; NaN for a class without examples.

    The matrix may hold counts, sums of weights or shares.
    """
    confusion = matrix_by_class("confusion", confusion).astype("float64")
    totals = confusion.sum(axis=1)
    recall = np.full(len(totals), np.nan)
    return np.divide(np.diag(confusion), totals, out=recall, where=totals > 0)


def shot_groups(class_counts: ByClass) -> tuple[dict[str, list[int]], str]:
    """Many / medium / few shot classes by their training counts.

    The field's thresholds (Liu et al., "Large-Scale Long-Tailed Recognition in an Open World",
    CVPR 2019): many > 100, medium 20 to 100, few < 20 training images. Where no class is below
    20 and the classes differ in size they would leave the tail empty, so the classes are cut into
    thirds by rank instead; the sizes of the thirds differ by one at most, larger ones first.

    Classes of one size are never cut apart: each of the two cuts moves to the nearest place in
    the ranking where the count changes; of two as near as each other, the first cut takes the one
    nearer to the largest class and the second the one nearer to the smallest. "Many" and "few"
    always have a class then; "medium" is empty where both cuts meet, so two classes of different
    sizes are one many and one few.

    Args:
        class_counts: Training examples per class, whole numbers >= 0 of shape `[C]`; a dict,
            Counter or pandas Series is read by class.

    Returns:
        `(groups, rule)`: a dict of `"many"`, `"medium"`, `"few"` to lists of class ids, and
        `"thresholds"`, `"thirds"`, or `"moved_thirds"` where a cut had to move.

    Raises:
        ValueError: `class_counts` is not one whole number >= 0 per class.
    """
    counts = check_class_counts(class_counts, minimum=0)
    if counts.min() >= FEW_SHOT_BELOW and counts.min() < counts.max():
        return _thirds(counts)
    many, few = counts > MANY_SHOT_ABOVE, counts < FEW_SHOT_BELOW
    groups = {
        "many": np.flatnonzero(many).tolist(),
        "medium": np.flatnonzero(~many & ~few).tolist(),
        "few": np.flatnonzero(few).tolist(),
    }
    return groups, "thresholds"


def _thirds(counts: NDArray[Any]) -> tuple[dict[str, list[int]], str]:
    ranked = np.argsort(-counts, kind="stable")
    thirds = [len(third) for third in np.array_split(ranked, 3)]
    wanted = (thirds[0], thirds[0] + thirds[1])
    changes = 1 + np.flatnonzero(np.diff(counts[ranked]))
    # Of two changes as near as each other `min` takes the first it is given.
    first = int(min(changes, key=lambda place: abs(place - wanted[0])))
    second = int(min(changes[::-1], key=lambda place: abs(place - wanted[1])))
    cut = np.split(ranked, [first, second])
    groups = {
        name: sorted(ids.tolist()) for name, ids in zip(("many", "medium", "few"), cut, strict=True)
    }
    return groups, "thirds" if (first, second) == wanted else "moved_thirds"


def classification_report(confusion: ArrayLike, class_counts: ByClass) -> dict[str, Any]:
    """All figures that follow from a confusion matrix.

    Args:
        confusion: `[C, C]`, from `confusion_matrix`.
        class_counts: Training examples per class `[C]`, for the shot groups; a dict, Counter or
            pandas Series is read by class.

    Returns:
        Dict of `accuracy`, `balanced_accuracy` (mean recall of the classes that have examples),
        `per_class_accuracy` (`[C]`, None for a class without examples), `many_accuracy`,
        `medium_accuracy`, `few_accuracy` (mean recall of the group, None where it is empty) and
        `confusion_matrix`, all plain Python values.

    Raises:
        ValueError: The matrix is not `[C, C]`, or holds no examples.
    """
    confusion = matrix_by_class("confusion", confusion)
    class_counts = check_class_counts(class_counts, minimum=0)
    num_classes = len(class_counts)
    if confusion.shape != (num_classes, num_classes):
        raise ValueError(
            f"`confusion` has shape {confusion.shape}, but `class_counts` has {num_classes} "
            f"classes: expected ({num_classes}, {num_classes})."
        )
    if confusion.sum() == 0:
        raise ValueError("`confusion` holds no examples.")
    recall = per_class_accuracy(confusion)
    groups, _ = shot_groups(class_counts)

    def mean_recall(classes: Iterable[int]) -> float | None:
        present = [recall[c] for c in classes if np.isfinite(recall[c])]
        return float(np.mean(present)) if present else None

    return {
        "accuracy": float(np.trace(confusion) / confusion.sum()),
        "balanced_accuracy": mean_recall(range(num_classes)),
        "per_class_accuracy": [float(r) if np.isfinite(r) else None for r in recall],
        **{f"{name}_accuracy": mean_recall(classes) for name, classes in groups.items()},
        "confusion_matrix": confusion.tolist(),
    }


@keras.saving.register_keras_serializable(package="cb_keras")
class BalancedAccuracy(keras.metrics.Metric):
    """Mean recall of the classes seen so far, for `model.compile(metrics=...)`.

    `recall_c = sum_i w_i [y_i = c][p_i = c] / sum_i w_i [y_i = c]` with the weights w_i of the
    examples; larger is better, which `EarlyStopping(monitor="val_balanced_accuracy")` knows.

    Args:
        num_classes: C, at least 2.
        name: Name of the metric.
        dtype: As in `keras.metrics.Metric`; a type below float32 counts in float32 all the same.
        threshold: For a model of one output and two classes: class 1 is predicted above it. 0.0
            for logits, 0.5 for probabilities.

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
            of two classes; or, when updated, shapes or dtypes do not fit.
    """

    def __init__(
        self,
        num_classes: int,
        name: str = "balanced_accuracy",
        dtype: Any = None,
        *,
        threshold: float | None = None,
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
        self.threshold = _check_threshold(threshold, self.num_classes)
        shape = (self.num_classes,)
        self._count_dtype = "float64" if self.dtype == "float64" else "float32"
        self.correct = self.add_variable(shape, "zeros", self._count_dtype, name="correct")
        self.total = self.add_variable(shape, "zeros", self._count_dtype, name="total")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch."""
        labels, predicted, _, weight = scored_examples(
            y_true, y_pred, sample_weight, self.num_classes, self._count_dtype, self.threshold
        )
        hit = ops.where(ops.equal(labels, predicted), weight, ops.zeros_like(weight))
        self.total.assign_add(ops.segment_sum(weight, labels, self.num_classes))
        self.correct.assign_add(ops.segment_sum(hit, labels, self.num_classes))

    def result(self) -> Any:
        """Mean recall, a scalar; 0 before the first example."""
        correct, total = ops.convert_to_tensor(self.correct), ops.convert_to_tensor(self.total)
        seen = ops.logical_not(total <= 0)  # a NaN is seen, and makes the mean NaN
        recall = correct / ops.where(seen, total, ops.ones_like(total))
        number = ops.sum(ops.cast(seen, self._count_dtype))
        return ops.sum(recall) / ops.maximum(number, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same metric."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "threshold": self.threshold,
        }


def _check_threshold(threshold: Any, num_classes: int) -> float | None:
    if threshold is None:
        return None
    if isinstance(threshold, bool) or not isinstance(threshold, int | float | np.number):
        raise ValueError(f"`threshold` must be a number or None, got {threshold!r}.")
    if not np.isfinite(threshold) or num_classes != 2:
        raise ValueError(
            f"`threshold` must be a finite number, for two classes, got {threshold!r} for "
            f"{num_classes}; 0.0 is for logits, 0.5 for probabilities."
        )
    return float(threshold)
