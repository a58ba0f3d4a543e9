"""The types that a user of the library gets: mypy checks this file (`make types`), pytest runs it.

What mypy must refuse carries `# type: ignore[...]`: one that is not needed is an error too.
"""

from typing import TYPE_CHECKING, Any, assert_type

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

import cb_keras
from cb_keras import callbacks, functional, fused, losses, metrics, optimizers, schedules

COUNTS = [50, 10, 2]
LABELS = np.array([0, 1, 2, 2])
LOGITS = np.zeros((4, 3), "float32")


def test_weights_and_counts_are_arrays_of_known_types() -> None:
    weights = cb_keras.class_balanced_weights(COUNTS, beta=0.99, power=0.5)
    assert_type(weights, NDArray[np.float32])
    assert weights.dtype == "float32"
    assert_type(cb_keras.class_balanced_weights({0: 50, 1: 10}), NDArray[np.float32])
    cb_keras.class_balanced_weights(COUNTS, normalize="examples", empty="zero")
    assert_type(cb_keras.class_counts(LABELS, num_classes=3), NDArray[np.int64])
    assert_type(cb_keras.binary_counts([0, 1, 1]), NDArray[np.int64])
    number = cb_keras.effective_number(np.array(COUNTS), 0.99)
    assert_type(number, NDArray[np.float64])
    assert number.dtype == "float64"
    counts = cb_keras.long_tailed_counts(10, 5000, 0.02)
    assert_type(counts, NDArray[np.int64])
    assert counts.dtype == "int64"
    chosen = cb_keras.choose_long_tail(LABELS, [1, 1, 1], seed=1)
    assert_type(chosen, NDArray[np.int64])
    assert chosen.dtype == "int64"


def test_losses_take_arrays_lists_and_tensors() -> None:
    softmax = losses.ClassBalancedSoftmaxCrossentropy(COUNTS, fused=False, reduction=None)
    sigmoid = losses.ClassBalancedSigmoidCrossentropy(class_weights=np.ones(3), fused="auto")
    focal = losses.ClassBalancedFocalCrossentropy(class_counts=np.array(COUNTS), gamma=2)
    assert_type(focal, losses.ClassBalancedFocalCrossentropy)
    assert_type(focal.gamma, float)
    assert_type(focal.beta, float)
    assert_type(softmax.get_config(), dict[str, Any])
    for loss in (softmax, sigmoid, focal):
        loss(LABELS, LOGITS, sample_weight=[1.0, 1.0, 0.0, 0.5])
    functional.class_balanced_focal_crossentropy(LABELS, LOGITS.tolist(), None, gamma=0.5)


def test_metrics_schedules_optimizers_and_callbacks() -> None:
    confusion = metrics.confusion_matrix(LABELS, LABELS, 3)
    assert_type(confusion, NDArray[np.int64])
    assert confusion.dtype == "int64"
    assert_type(metrics.per_class_accuracy(confusion), NDArray[np.float64])
    assert_type(metrics.shot_groups(COUNTS), tuple[dict[str, list[int]], str])
    assert_type(metrics.classification_report(confusion, COUNTS), dict[str, Any])
    metrics.BalancedAccuracy(num_classes=3)
    metrics.BalancedAccuracy(num_classes=2, threshold=0.5)
    metrics.ShotAccuracy({0: 50, 1: 10, 2: 2}, group="few", ignore_class=255)
    metrics.PerClassRecall(3, class_id=1)
    metrics.MacroF1(3, threshold=0.0, multi_label=True)
    metrics.ExpectedCalibrationError(num_bins=10, from_logits=False)
    rate = schedules.WarmupPiecewiseConstant(0.1, 5, boundaries=[10, 20])
    assert_type(rate.boundaries, list[float])
    optimizers.MomentumSGD(rate, momentum=0.9)
    loss = losses.ClassBalancedSoftmaxCrossentropy(COUNTS)
    callbacks.ClassWeightScheduler(loss, lambda epoch: [1.0, 1.0, float(epoch)])
    with pytest.warns(DeprecationWarning, match="ThroughputProgress"):
        progress = callbacks.ThroughputProgress(100, 10, epochs=1)
    assert_type(progress.images_per_second, float | None)


def test_the_model_and_the_door_to_the_op() -> None:
    if keras.backend.backend() == "tensorflow":  # on JAX it takes seconds
        cb_keras.resnet_cifar(8, (32, 32, 1), head="sigmoid")
    assert_type(fused.available(), bool)
    assert_type(fused.status(), str)
    assert_type(fused.why_not("softmax", "float32"), str | None)


if TYPE_CHECKING:
    cb_keras.class_balanced_weights()  # type: ignore[call-arg]
    cb_keras.class_balanced_weights(COUNTS, beta="0.99")  # type: ignore[arg-type]
    cb_keras.class_balanced_weights(COUNTS, normalize="mean")  # type: ignore[arg-type]
    cb_keras.class_balanced_weights({50, 10})  # type: ignore[arg-type]
    cb_keras.long_tailed_counts(10, 5000, imbalance=0.02)  # type: ignore[call-arg]
    cb_keras.resnet_cifar(input_shape=(32, 32))  # type: ignore[arg-type]
    cb_keras.resnet_cifar(head="focal")  # type: ignore[arg-type]
    losses.ClassBalancedSoftmaxCrossentropy(COUNTS, fused="always")  # type: ignore[arg-type]
    losses.ClassBalancedSoftmaxCrossentropy(COUNTS, reduction="average")  # type: ignore[arg-type]
    losses.ClassBalancedSigmoidCrossentropy(COUNTS, gamma=1.0)  # type: ignore[call-arg]
    functional.class_balanced_softmax_crossentropy(LABELS)  # type: ignore[call-arg]
    callbacks.ClassWeightScheduler(None, [1.0, 1.0])  # type: ignore[arg-type]
    fused.crossentropy("hinge", LABELS, LOGITS, COUNTS)  # type: ignore[arg-type]
