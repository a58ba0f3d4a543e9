"""Class-balanced losses as `keras.losses.Loss` classes."""

from cb_keras.losses.class_balanced import (
    ClassBalancedFocalCrossentropy,
    ClassBalancedSigmoidCrossentropy,
    ClassBalancedSoftmaxCrossentropy,
)

__all__ = [
    "ClassBalancedFocalCrossentropy",
    "ClassBalancedSigmoidCrossentropy",
    "ClassBalancedSoftmaxCrossentropy",
]
