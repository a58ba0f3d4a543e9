"""What every public metric keeps, whoever adds it: a metric that is not in MADE fails here."""

import keras
import numpy as np
import pytest
from keras import ops

from cb_keras import metrics
from tests.cb_keras.metrics.cases import COUNTS, digits

CLASSES = len(COUNTS)
MADE = {
    "BalancedAccuracy": lambda: metrics.BalancedAccuracy(CLASSES),
    "ExpectedCalibrationError": metrics.ExpectedCalibrationError,
    "GeometricMean": lambda: metrics.GeometricMean(CLASSES),
    "MacroF1": lambda: metrics.MacroF1(CLASSES),
    "PerClassRecall": lambda: metrics.PerClassRecall(CLASSES),
    "ShotAccuracy": lambda: metrics.ShotAccuracy(COUNTS, "few"),
}
PUBLIC = [name for name in metrics.__all__ if isinstance(getattr(metrics, name), type)]
every_metric = pytest.mark.parametrize("name", PUBLIC)


class Counting(keras.layers.Layer):
    """Shows a metric the batch that it is called on, and passes it on."""

    def __init__(self, metric):
        super().__init__()
        self.metric = metric

    def call(self, logits, labels):
        self.metric.update_state(labels, logits)
        return logits


def numbers(metric):
    found = metric.result()
    found = found.values() if isinstance(found, dict) else [found]
    return [float(ops.convert_to_numpy(number)) for number in found]


def of_digits(metric):
    labels, logits = digits()
    metric.update_state(labels, logits)
    return numbers(metric)


@every_metric
def test_it_can_be_in_a_layer_of_a_functional_model_whose_batches_have_no_size_yet(name):
    labels, logits = digits()
    metric = MADE[name]()
    inputs = keras.Input((CLASSES,)), keras.Input((), dtype="int32")
    model = keras.Model(inputs, Counting(metric)(*inputs))
    metric.reset_state()
    for part in np.array_split(np.arange(len(labels)), 4):  # two sizes
        model((ops.convert_to_tensor(logits[part]), ops.convert_to_tensor(labels[part])))
    np.testing.assert_allclose(numbers(metric), of_digits(MADE[name]()), rtol=1e-5)


@every_metric
@pytest.mark.parametrize("floatx", ["bfloat16", "float16", "float64"])
def test_it_counts_the_same_under_another_floatx(name, floatx):
    right, before = of_digits(MADE[name]()), keras.config.floatx()
    keras.config.set_floatx(floatx)
    try:
        found = of_digits(MADE[name]())
    finally:
        keras.config.set_floatx(before)
    # The results are of that type; logits of digits that are rounded to it change some answers.
    np.testing.assert_allclose(found, right, atol=0.02)
