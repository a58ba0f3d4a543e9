"""Real predictions for the tests of the metrics, and their figures in float64."""

import functools

import numpy as np
import sklearn.metrics
from keras import ops
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression

from cb_keras.metrics import shot_groups

# A long tail of digits: 0 is the largest class, 9 the smallest.
COUNTS = [150, 120, 90, 70, 50, 40, 30, 19, 17, 15]


@functools.cache
def digits():
    """`(labels [900], logits [900, 10])`: a linear model of a long tail, on other digits."""
    images, labels = load_digits(return_X_y=True)
    images = images / 16
    train = np.concatenate([np.flatnonzero(labels[:-900] == c)[:n] for c, n in enumerate(COUNTS)])
    model = LogisticRegression(C=1.0).fit(images[train], labels[train])
    return labels[-900:], model.decision_function(images[-900:]).astype("float32")


@functools.cache
def tumours():
    """`(labels [569] of 0 and 1, logits [569])` of a linear model of breast_cancer."""
    features, labels = load_breast_cancer(return_X_y=True)
    features = (features - features.mean(0)) / features.std(0)
    model = LogisticRegression(C=1e-3).fit(features[::5], labels[::5])
    return labels, model.decision_function(features).astype("float32")


@functools.cache
def properties():
    """`(multi-hot labels [900, 5], logits [900, 5])`: properties of a digit. None has the last."""
    labels, logits = digits()
    of_digit = np.array(
        [[d % 2 == 0, d >= 5, d in (2, 3, 5, 7), d in (0, 6, 8, 9), False] for d in range(10)]
    )
    scores = [logits[:, has].max(1) - logits[:, ~has].max(1) for has in of_digit.T[:4]]
    return of_digit[labels].astype("int32"), np.stack([*scores, -np.ones(900, "float32")], 1)


def softmax(logits):
    z = np.exp(logits - logits.max(-1, keepdims=True), dtype="float64")
    return z / z.sum(-1, keepdims=True)


def recalls(labels, logits, weight=None):
    """Recall of each class that has labels, float64, by scikit-learn."""
    predicted = predictions(logits)
    return sklearn.metrics.recall_score(
        labels, predicted, labels=np.unique(labels), average=None, sample_weight=weight
    )


def predictions(logits):
    return logits.argmax(-1) if logits.ndim > 1 else (logits > 0).astype(int)


def macro_f1(labels, logits, weight=None):
    return sklearn.metrics.f1_score(
        labels, predictions(logits), average="macro", sample_weight=weight
    )


def balanced_accuracy(labels, logits, weight=None):
    return recalls(labels, logits, weight).mean()


def geometric_mean(labels, logits, weight=None):
    found = recalls(labels, logits, weight)
    return np.prod(found) ** (1 / len(found))


def few_accuracy(labels, logits, weight=None):
    groups, _ = shot_groups(COUNTS)
    kept = np.isin(labels, groups["few"])
    weight = None if weight is None else weight[kept]
    return recalls(labels[kept], logits[kept], weight).mean()


def calibration_error(labels, logits, weight=None, num_bins=15):
    """Bins (lo, hi], found by comparing each confidence with each edge, in float64."""
    p = softmax(logits if logits.ndim > 1 else np.stack([0 * logits, logits], 1))
    confidence = p.max(-1)
    correct = predictions(logits) == labels
    weight = np.ones(len(labels)) if weight is None else weight
    error = 0.0
    for b in range(num_bins):
        within = (confidence > b / num_bins) & (confidence <= (b + 1) / num_bins)
        error += abs((weight * (correct - confidence))[within].sum())
    return error / weight.sum()


def value(metric):
    """Result as a float, or dict of floats."""
    result = metric.result()
    if isinstance(result, dict):
        return {name: ops.convert_to_numpy(x).item() for name, x in result.items()}
    return ops.convert_to_numpy(result).item()


def score(metric, labels, predictions, weight=None):
    metric.update_state(labels, predictions, weight)
    return value(metric)
