"""What a model said about each test image: `predictions.npz`."""

import dataclasses
import io
import json
import zipfile

import numpy as np

from experiments.exports import scores
from experiments.runs.files import DamagedError

NAME = "predictions.npz"
_ARRAYS = ("labels", "classes", "logits", "probabilities")
# What probabilities may be but a softmax: those of a yes or no a class, over their sum or not.
SIGMOID, NORMALIZED_SIGMOID = "sigmoid", "normalized_sigmoid"
_ABOUT = {"probabilities": str, "class_names": list, "class_counts": list, "test": dict}


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The answers of a model, and what they are about.

    Attributes:
        labels: Class ids int32 `[N]`.
        classes: Predicted class ids int64 `[N]`.
        logits: float32 `[N, C]`.
        probabilities: float64 `[N, C]`.
        about: JSON-able dict of `probabilities`, what those are; `class_names`, `class_counts` (of
            the training); `test`, the record of the test images (`data_record.of`),
            whose order is that of the test split.
    """

    labels: np.ndarray
    classes: np.ndarray
    logits: np.ndarray
    probabilities: np.ndarray
    about: dict

    @property
    def images(self):
        """`scores.Images`."""
        are_distribution = self.about["probabilities"] != SIGMOID
        return scores.Images.of(self.labels, self.classes, self.probabilities, are_distribution)

    @property
    def as_distribution(self):
        """The same with probabilities that sum to 1 for each image."""
        if self.about["probabilities"] != SIGMOID:
            return self
        about = {**self.about, "probabilities": NORMALIZED_SIGMOID}
        normalized = scores.normalized(self.probabilities)
        return dataclasses.replace(self, probabilities=normalized, about=about)


def content(predictions):
    """Bytes of the file; `numpy.load` reads it without pickles."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        **{name: getattr(predictions, name) for name in _ARRAYS},
        indices=np.arange(len(predictions.labels)),
        class_names=np.array(predictions.about["class_names"], str),
        about=np.array(json.dumps(predictions.about)),
    )
    return buffer.getvalue()


def read(path):
    """`Predictions` of a file.

    Raises:
        DamagedError: It is not one that `content` made; says why.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _ARRAYS}
            about = json.loads(str(file["about"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise DamagedError(f"{path} is not a file of predictions ({reason})") from error
    if problem := _problem(about, **arrays):
        raise DamagedError(f"{path} is not a file of predictions ({problem})")
    return Predictions(**arrays, about=about)


def _problem(about, labels, classes, logits, probabilities):
    """Why the arrays do not fit each other, in words; None where they do."""
    for name, kind in _ABOUT.items():
        if not isinstance(about, dict) or not isinstance(about.get(name), kind):
            return f"its `about` has no {name!r}"
    shape = (labels.size, len(about["class_names"]))
    if not labels.size or {labels.shape, classes.shape} != {shape[:1]}:
        return "its labels and classes are not one for each image"
    if {logits.shape, probabilities.shape} != {shape}:
        return "its logits and probabilities are not one for each image and class"
    for ids in (labels, classes):
        if ids.dtype.kind not in "iu" or not 0 <= ids.min() <= ids.max() < shape[1]:
            return "its labels or classes are not class ids"
    if {logits.dtype.kind, probabilities.dtype.kind} != {"f"} or not (
        np.isfinite(logits).all() and (probabilities >= 0).all()
    ):
        return "its logits or probabilities are not numbers"
    return None
