"""The import path that the losses had, for files and pickles that name it."""

from cb_keras.losses.focal import ClassBalancedFocalCrossentropy
from cb_keras.losses.sigmoid import ClassBalancedSigmoidCrossentropy
from cb_keras.losses.softmax import ClassBalancedSoftmaxCrossentropy

__all__ = [
    "ClassBalancedFocalCrossentropy",
    "ClassBalancedSigmoidCrossentropy",
    "ClassBalancedSoftmaxCrossentropy",
]
