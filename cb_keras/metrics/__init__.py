"""Accuracy figures of long-tailed classification: from numpy arrays, and for `model.compile`."""

from cb_keras.metrics.calibration import ExpectedCalibrationError
from cb_keras.metrics.f1 import MacroF1
from cb_keras.metrics.figures import (
    FEW_SHOT_BELOW,
    MANY_SHOT_ABOVE,
    classification_report,
    confusion_matrix,
    per_class_accuracy,
    recall_report,
    shot_groups,
)
from cb_keras.metrics.recall import (
    BalancedAccuracy,
    GeometricMean,
    PerClassRecall,
    ShotAccuracy,
)

__all__ = [
    "FEW_SHOT_BELOW",
    "MANY_SHOT_ABOVE",
    "BalancedAccuracy",
    "ExpectedCalibrationError",
    "GeometricMean",
    "MacroF1",
    "PerClassRecall",
    "ShotAccuracy",
    "classification_report",
    "confusion_matrix",
    "per_class_accuracy",
    "recall_report",
    "shot_groups",
]
