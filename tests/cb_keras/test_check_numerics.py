"""No NaN or infinity is made on the way to a loss or a metric that has none.

`tf.debugging.enable_check_numerics` stops at the first one, wherever it is.
"""

import keras
import numpy as np
import pytest

import cb_keras
from cb_keras import losses, metrics

if keras.backend.backend() != "tensorflow":
    pytest.skip("TensorFlow's own tool", allow_module_level=True)
COUNTS = [20, 15, 10, 10, 9]
X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
IDS = np.arange(64) % 5
ONE_HOT = np.eye(5)[IDS]
OF_IDS = [
    metrics.BalancedAccuracy(5),
    metrics.PerClassRecall(5),
    metrics.MacroF1(5),
    metrics.ShotAccuracy(COUNTS, "few"),
    metrics.GeometricMean(5),
    metrics.ExpectedCalibrationError(from_logits=True),
]
OF_LABELS = [metrics.PerClassRecall(5, threshold=0.0, multi_label=True)]
CASES = {
    "softmax": (losses.ClassBalancedSoftmaxCrossentropy(COUNTS, fused=False), IDS, OF_IDS),
    "the op": (losses.ClassBalancedFocalCrossentropy(COUNTS), IDS, OF_IDS),
    "focal, ids": (losses.ClassBalancedFocalCrossentropy(COUNTS, fused=False), IDS, []),
    "softmax focal": (losses.ClassBalancedSoftmaxFocalCrossentropy(COUNTS, fused=False), IDS, []),
    "one-hot": (losses.ClassBalancedSoftmaxCrossentropy(COUNTS, fused=False), ONE_HOT, OF_IDS),
    "binary": (losses.ClassBalancedBinaryCrossentropy([[90, 10]] * 5), ONE_HOT, OF_LABELS),
    "asymmetric": (losses.AsymmetricCrossentropy(), ONE_HOT, OF_LABELS),
}


@pytest.fixture
def checked():
    import tensorflow as tf

    tf.debugging.enable_check_numerics()
    yield
    tf.debugging.disable_check_numerics()


@pytest.mark.usefixtures("checked")
@pytest.mark.parametrize("case", CASES)
def test_training_and_evaluation_are_not_stopped(case):
    loss, labels, own = CASES[case]
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(5)])
    model.compile("sgd", loss, metrics=own)
    model.fit(X, labels, verbose=0)
    assert all(np.isfinite(value) for value in np.ravel(model.evaluate(X, labels, verbose=0)))


@pytest.mark.usefixtures("checked")
def test_what_is_wrong_is_still_found():
    import tensorflow as tf

    @tf.function
    def loss(labels):
        logits = tf.zeros([2, 3])
        return cb_keras.functional.class_balanced_softmax_crossentropy(labels, logits)

    loss(tf.constant([0, 2]))
    with pytest.raises(tf.errors.InvalidArgumentError):
        loss(tf.constant([0, 3]))
