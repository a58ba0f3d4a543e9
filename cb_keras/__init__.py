"""Class-balanced losses for long-tailed classification in Keras 3."""

try:
    import keras as _keras
except ImportError as error:  # Keras' own message, of its backend above all, and what to do
    raise ImportError(
        f"{error}. cb_keras needs Keras and one of its backends: pip install "
        "'cb_keras[tensorflow]', or [jax] or [torch] with KERAS_BACKEND=jax or torch.",
        name=error.name,
    ) from error

from cb_keras import (
    _forks,  # which sees those from here on
    callbacks,
    functional,
    layers,
    losses,
    metrics,
    optimizers,
    posthoc,
    sampling,
    schedules,
    weight_schedules,
)
from cb_keras._version import __version__
from cb_keras.counting import binary_counts, class_counts
from cb_keras.long_tail import choose_long_tail, long_tailed_counts
from cb_keras.resnet import resnet_cifar
from cb_keras.volumes import class_volumes
from cb_keras.weights import class_balanced_weights, effective_number

__all__ = [
    "__version__",
    "binary_counts",
    "callbacks",
    "choose_long_tail",
    "class_balanced_weights",
    "class_counts",
    "class_volumes",
    "effective_number",
    "functional",
    "layers",
    "long_tailed_counts",
    "losses",
    "metrics",
    "optimizers",
    "posthoc",
    "resnet_cifar",
    "sampling",
    "schedules",
    "weight_schedules",
]
