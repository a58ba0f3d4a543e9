"""Accuracy figures of long-tailed classification, from labels and predictions in numpy."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cb_keras.checks import check_class_counts, check_whole_number
from cb_keras.counts import ByClass, matrix_by_class

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
    report = recall_report(np.diag(confusion), confusion.sum(axis=1), class_counts)
    return {**report, "confusion_matrix": confusion.tolist()}


def recall_report(right: ArrayLike, examples: ArrayLike, class_counts: ByClass) -> dict[str, Any]:
    """The figures of `classification_report` that need no matrix, which has C^2 entries.

    Args:
        right: Examples of each class that are predicted right, `[C]`.
        examples: Examples of each class, `[C]`.
        class_counts: Training examples per class `[C]`, for the shot groups.

    Returns:
        As `classification_report`, without `confusion_matrix`.

    Raises:
        ValueError: The shapes differ, or there are no examples.
    """
    class_counts = check_class_counts(class_counts, minimum=0)
    right, examples = np.asarray(right, "float64"), np.asarray(examples, "float64")
    num_classes = len(class_counts)
    for name, values in (("right", right), ("examples", examples)):
        if values.shape != (num_classes,):
            raise ValueError(
                f"`{name}` has shape {values.shape}, but `class_counts` has {num_classes} classes: "
                "give one number per class."
            )
    if not examples.sum() > 0:
        raise ValueError("`examples` are none at all; give those of one class at least.")
    recall = np.full(num_classes, np.nan)
    np.divide(right, examples, out=recall, where=examples > 0)
    groups, _ = shot_groups(class_counts)

    def mean_recall(classes: Iterable[int]) -> float | None:
        present = [recall[c] for c in classes if np.isfinite(recall[c])]
        return float(np.mean(present)) if present else None

    return {
        "accuracy": float(right.sum() / examples.sum()),
        "balanced_accuracy": mean_recall(range(num_classes)),
        "per_class_accuracy": [float(r) if np.isfinite(r) else None for r in recall],
        **{f"{name}_accuracy": mean_recall(classes) for name, classes in groups.items()},
    }
