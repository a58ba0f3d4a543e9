"""The losses as `keras.losses.Loss` classes, one file a family."""

from cb_keras.losses.asymmetric import AsymmetricCrossentropy
from cb_keras.losses.binary import ClassBalancedBinaryCrossentropy
from cb_keras.losses.focal import ClassBalancedFocalCrossentropy
from cb_keras.losses.label_aware_smoothing import LabelAwareSmoothingCrossentropy
from cb_keras.losses.ldam import LDAMCrossentropy
from cb_keras.losses.logit_adjusted import LogitAdjustedCrossentropy
from cb_keras.losses.sigmoid import ClassBalancedSigmoidCrossentropy
from cb_keras.losses.softmax import ClassBalancedSoftmaxCrossentropy
from cb_keras.losses.softmax_focal import ClassBalancedSoftmaxFocalCrossentropy
from cb_keras.losses.vector_scaling import VectorScalingCrossentropy

__all__ = [
    "AsymmetricCrossentropy",
    "ClassBalancedBinaryCrossentropy",
    "ClassBalancedFocalCrossentropy",
    "ClassBalancedSigmoidCrossentropy",
    "ClassBalancedSoftmaxCrossentropy",
    "ClassBalancedSoftmaxFocalCrossentropy",
    "LDAMCrossentropy",
    "LabelAwareSmoothingCrossentropy",
    "LogitAdjustedCrossentropy",
    "VectorScalingCrossentropy",
]
