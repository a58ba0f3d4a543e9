"""Accuracy figures of long-tailed classification."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike, NDArray

from cb_keras.checks import check_labels, to_tensors

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
    """Recall of each class, float64 `[C]`; NaN for a class without examples."""
    confusion = np.asarray(confusion)
    totals = confusion.sum(axis=1)
    return np.where(totals > 0, np.diag(confusion) / np.maximum(totals, 1), np.nan)


def shot_groups(class_counts: ArrayLike) -> tuple[dict[str, list[int]], str]:
    """Many / medium / few shot classes by their training counts.

    The field's thresholds (Liu et al., "Large-Scale Long-Tailed Recognition in an Open World",
    CVPR 2019): many > 100, medium 20 to 100, few < 20 training images. Where no class is below
    20 and the classes differ in size they would leave the tail empty, so the classes are cut into
    thirds by rank instead; the sizes of the thirds differ by one at most, larger ones first.

    Args:
        class_counts: Training examples per class, `[C]`.

    Returns:
        `(groups, rule)`: a dict of `"many"`, `"medium"`, `"few"` to lists of class ids, and
        `"thresholds"` or `"thirds"`.
    """
    counts = np.asarray(class_counts)
    if counts.min() >= FEW_SHOT_BELOW and counts.min() < counts.max():
        ranked = np.argsort(-counts, kind="stable")
        thirds = np.array_split(ranked, 3)
        names = ("many", "medium", "few")
        groups = {name: sorted(ids.tolist()) for name, ids in zip(names, thirds, strict=True)}
        return groups, "thirds"
    many, few = counts > MANY_SHOT_ABOVE, counts < FEW_SHOT_BELOW
    groups = {
        "many": np.flatnonzero(many).tolist(),
        "medium": np.flatnonzero(~many & ~few).tolist(),
        "few": np.flatnonzero(few).tolist(),
    }
    return groups, "thresholds"


def classification_report(
    confusion: ArrayLike, class_counts: Sequence[int] | NDArray[np.integer]
) -> dict[str, Any]:
    """All figures that follow from a confusion matrix.

    Args:
        confusion: `[C, C]`, from `confusion_matrix`.
        class_counts: Training examples per class `[C]`, for the shot groups.

    Returns:
        Dict of `accuracy`, `balanced_accuracy` (mean recall of the classes that have examples),
        `per_class_accuracy` (`[C]`, None for a class without examples), `many_accuracy`,
        `medium_accuracy`, `few_accuracy` (mean recall of the group, None where it is empty) and
        `confusion_matrix`, all plain Python values.

    Raises:
        ValueError: The matrix is not `[C, C]`, or holds no examples.
    """
    confusion = np.asarray(confusion)
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

    Args:
        num_classes: C.
        name: Name of the metric.
        dtype: As in `keras.metrics.Metric`.

    Call arguments:
        y_true: Class ids `[...]` or `[..., 1]`, or one-hot labels `[..., C]`.
        y_pred: Logits or probabilities `[..., C]`.
        sample_weight: Optional weight of each example, `[...]`.

    An example whose class id is outside `[0, C)` is in no class, and counts in no recall; the
    losses are NaN for it.

    Raises:
        ValueError: `num_classes` is no whole number >= 1; or, when updated, shapes or dtypes do
            not fit.
    """

    def __init__(
        self, num_classes: int, name: str = "balanced_accuracy", dtype: Any = None
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        if not 1 <= num_classes < np.inf or num_classes % 1:
            raise ValueError(f"`num_classes` must be a whole number >= 1, got {num_classes!r}.")
        self.num_classes = int(num_classes)
        shape = (self.num_classes,)
        self.correct = self.add_variable(shape, "zeros", name="correct")
        self.total = self.add_variable(shape, "zeros", name="total")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch."""
        y_true, y_pred = to_tensors(y_true, y_pred)
        classes = y_pred.shape[-1] if len(y_pred.shape) else None
        if classes is not None and classes != self.num_classes:
            raise ValueError(
                f"`y_pred` has {classes} classes (shape {tuple(y_pred.shape)}) but `num_classes` "
                f"is {self.num_classes}: give BalancedAccuracy the number of the model's outputs."
            )
        if not check_labels(y_true, y_pred):
            y_true = ops.argmax(y_true, axis=-1)
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        predicted = ops.cast(ops.reshape(ops.argmax(y_pred, axis=-1), (-1,)), "int32")
        weight = ops.ones_like(labels, dtype=self.dtype)
        if sample_weight is not None:
            weight = ops.cast(ops.reshape(sample_weight, (-1,)), self.dtype)
        members = ops.one_hot(labels, self.num_classes, dtype=self.dtype) * weight[:, None]
        hits = ops.cast(ops.equal(labels, predicted), self.dtype)
        self.total.assign_add(ops.sum(members, axis=0))
        self.correct.assign_add(ops.sum(members * hits[:, None], axis=0))

    def result(self) -> Any:
        """Mean recall, a scalar; 0 before the first example."""
        correct, total = ops.convert_to_tensor(self.correct), ops.convert_to_tensor(self.total)
        seen = total > 0
        recall = correct / ops.where(seen, total, ops.ones_like(total))
        number = ops.sum(ops.cast(seen, self.dtype))
        return ops.sum(recall) / ops.maximum(number, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same metric."""
        return {**super().get_config(), "num_classes": self.num_classes}
