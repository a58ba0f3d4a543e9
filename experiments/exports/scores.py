"""Figures of a classifier on test images, in NumPy alone: from its classes and probabilities."""

import dataclasses

import numpy as np

BINS = 15  # of the calibration error, as cb_keras.metrics.ExpectedCalibrationError's default
NORMALIZED, RAW = FORMS = ("normalized", "raw")  # of probabilities that do not sum to 1
_SMALLEST = np.finfo("float64").tiny  # a probability below it counts as it: its logarithm is finite


@dataclasses.dataclass(frozen=True)
class Images:
    """What the figures need of each test image; a model's answers, all float64 but the ids.

    Attributes:
        labels: Class ids `[N]`.
        classes: Predicted class ids `[N]`.
        confidence: Probability of the predicted class `[N]`.
        log_loss: -log of the label's probability `[N]`; None where those are no distribution.
    """

    labels: np.ndarray
    classes: np.ndarray
    confidence: np.ndarray
    log_loss: np.ndarray | None

    @classmethod
    def of(cls, labels, classes, probabilities, are_distribution):
        """From probabilities `[N, C]`, which are a distribution where each image's sum to 1."""
        each = np.arange(len(labels))
        log_loss = None
        if are_distribution:
            log_loss = -np.log(np.maximum(probabilities[each, labels], _SMALLEST))
        return cls(labels, classes, probabilities[each, classes], log_loss)

    def chosen(self, indices):
        """The images at these places, of which some may be there more than once."""
        log_loss = None if self.log_loss is None else self.log_loss[indices]
        of_each = (self.labels[indices], self.classes[indices], self.confidence[indices])
        return Images(*of_each, log_loss)


def probabilities(head, logits):
    """Probabilities float64 `[N, C]` of logits, as those of a method with such a head.

    Args:
        head: `"softmax"`, `"sigmoid"` or `"cosine"`.
        logits: `[N, C]`, scaled as the method does.
    """
    logits = np.asarray(logits, "float64")
    if head != "sigmoid":
        found = np.exp(logits - logits.max(axis=1, keepdims=True))
        return found / found.sum(axis=1, keepdims=True)
    small = np.exp(-np.abs(logits))  # which can't overflow
    return np.where(logits < 0, small, 1) / (1 + small)


def normalized(probabilities):
    """Probabilities `[N, C]` over their sum for each image; 1/C each where all of them are 0."""
    sums = probabilities.sum(axis=1, keepdims=True)
    uniform = np.full_like(probabilities, 1 / probabilities.shape[1])
    return np.divide(probabilities, sums, out=uniform, where=sums > 0)


def figures(images, num_classes, groups, calibration=True):
    """The figures that are one number, as float or None.

    Args:
        images: `Images`.
        num_classes: C.
        groups: Dict of `"many"`, `"medium"`, `"few"` to lists of class ids.
        calibration: Whether `ece` is wanted, which takes as long as all the others.

    Returns:
        Dict of `accuracy`, `balanced_accuracy`, `many_accuracy`, `medium_accuracy`, `few_accuracy`
        (None where no class of the group has images), `macro_f1`, `ece` and `nll`.
    """
    right = images.labels == images.classes
    counted = Counted.of(images.labels, images.classes, num_classes)
    recall = counted.recall
    return {
        "accuracy": float(right.mean()),
        "balanced_accuracy": _mean(recall),
        **{f"{name}_accuracy": _mean(recall[ids]) for name, ids in groups.items()},
        "macro_f1": _mean(counted.f1),
        **({"ece": calibration_error(images.confidence, right)} if calibration else {}),
        "nll": None if images.log_loss is None else float(images.log_loss.mean()),
    }


@dataclasses.dataclass(frozen=True)
class Counted:
    """Per class the images that have it `[C]`, those that are given it, and those that are right.

    A figure is NaN where nothing is divided: a recall of no images, a precision of a class that is
    never predicted, an F1 of a class that is neither in the labels nor predicted.
    """

    support: np.ndarray
    predicted: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, labels, classes, num_classes):
        """From class ids `[N]`."""
        of_each = (labels, classes, labels[labels == classes])
        return cls(*(np.bincount(ids, minlength=num_classes) for ids in of_each))

    @property
    def recall(self):
        """Right ones over all of the class."""
        return _ratio(self.right, self.support)

    @property
    def precision(self):
        """Right ones over all that are given it."""
        return _ratio(self.right, self.predicted)

    @property
    def f1(self):
        """Twice the right ones over those of the class and those that are given it."""
        return _ratio(2 * self.right, self.support + self.predicted)


def area_under_curve(labels, probabilities):
    """Area under the ROC curve of each class against all others, float64 `[C]`.

    The share of the pairs of an image of the class and one of another in which the first has the
    larger probability of the class; equal ones count half. NaN where there is no such pair.

    Args:
        labels: Class ids `[N]`.
        probabilities: `[N, C]`.
    """
    areas = np.full(probabilities.shape[1], np.nan)
    for c in np.unique(labels):
        own = labels == c
        others = np.sort(probabilities[~own, c])
        if others.size:
            of_class = probabilities[own, c]
            below = np.searchsorted(others, of_class, "left")
            not_above = np.searchsorted(others, of_class, "right")
            areas[c] = (below + not_above).mean() / (2 * others.size)
    return areas


def reliability(confidence, right, bins=BINS):
    """`(images, confidence, accuracy)` per bin (lo, hi] of the confidence, each `[bins]`.

    The last two are means over the images in a bin, NaN without any.
    """
    edges = np.linspace(0, 1, bins + 1)
    places = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    images = np.bincount(places, minlength=bins)
    sums = (np.bincount(places, weights=of_each, minlength=bins) for of_each in (confidence, right))
    return images, *(_ratio(of_bin, images) for of_bin in sums)


def calibration_error(confidence, right):
    """Expected calibration error: sum over bins of images / N * |accuracy - confidence|."""
    images, confidence, accuracy = reliability(confidence, right)
    filled = images > 0
    gaps = np.abs(accuracy - confidence)[filled]
    return float(gaps @ images[filled] / images.sum())


def _ratio(part, whole):
    out = np.full(len(whole), np.nan)
    return np.divide(part, whole, out=out, where=whole > 0)


def _mean(values):
    """Mean of those that are not NaN; None where there are none."""
    values = [value for value in values.tolist() if value == value]
    return sum(values) / len(values) if values else None


def plain(values):
    """An array as a list for JSON, NaN as null."""
    return [None if value != value else value for value in values.tolist()]
