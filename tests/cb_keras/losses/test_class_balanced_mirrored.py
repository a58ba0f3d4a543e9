"""One training step on two replicas is the step on one device.

Logical devices can only be made before TensorFlow starts, so every case runs in its own process.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests import HANG_SECONDS
from tests.cb_keras.gradients import BACKEND

SCRIPT = """
import json

import keras
import numpy as np
import tensorflow as tf

import cb_keras

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
inputs = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
labels = np.array([0, 1, 2, 0, 0, 1, 0, 2])


def make(cls, fused):
    # Bytes of zeros would hide a wrong gradient: a fixed random kernel.
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    loss = getattr(cb_keras.losses, cls)([900, 90, 9], fused=fused)
    return model, loss, keras.optimizers.SGD(0.5)


def figures():
    of = cb_keras.metrics
    return [of.BalancedAccuracy(3), of.GeometricMean(3), of.MacroF1(3), of.PerClassRecall(3, 1),
            of.ShotAccuracy([900, 90, 9], "many"), of.ExpectedCalibrationError()]


def fit(cls, fused, strategy):
    with strategy.scope():
        model, loss, optimizer = make(cls, fused)
        model.compile(optimizer, loss, metrics=figures())
    history = model.fit(inputs, labels, batch_size=8, epochs=2, shuffle=False, verbose=0)
    return [value for values in history.history.values() for value in values], model


def own_loop(cls, fused, strategy):
    with strategy.scope():
        model, loss, optimizer = make(cls, fused)
        optimizer.build(model.trainable_variables)

    def step(x, y):
        with tf.GradientTape() as tape:
            per_example = loss.call(y, model(x, training=True))
            value = tf.nn.compute_average_loss(per_example, global_batch_size=8)
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return value

    dataset = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(8)
    train = tf.function(lambda x, y: strategy.reduce("SUM", strategy.run(step, (x, y)), axis=None))
    losses = [float(train(*batch)) for _ in range(2)
              for batch in strategy.experimental_distribute_dataset(dataset)]
    return losses, model


two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
one = tf.distribute.OneDeviceStrategy("CPU:0")
assert two.num_replicas_in_sync == 2
cases = [("Softmax", False, fit), ("Softmax", True, own_loop), ("Sigmoid", False, own_loop),
         ("Sigmoid", True, fit), ("Focal", False, fit), ("Focal", True, own_loop)]
result = {}
for kind, fused, function in cases:
    cls = f"ClassBalanced{kind}Crossentropy"
    for name, strategy in (("two", two), ("one", one)):
        losses, model = function(cls, fused, strategy)
        weights = np.concatenate([w.ravel() for w in model.get_weights()])
        result[f"{cls} {fused} {name}"] = [*losses, *weights.tolist()]
print(json.dumps(result))
"""


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="MirroredStrategy is TensorFlow's")
def test_a_step_on_two_replicas_is_the_step_on_one_device(fused_op):
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    assert process.returncode == 0, process.stderr
    result = json.loads(process.stdout.splitlines()[-1])
    assert len(result) == 12
    assert len({len(values) for values in result.values()}) == 2  # with the six figures, without
    for case, on_two in result.items():
        if case.endswith("two"):
            on_one = result[case.removesuffix("two") + "one"]
            np.testing.assert_allclose(on_two, on_one, rtol=1e-4, atol=1e-6, err_msg=case)
            cls = case.split()[0]
            composed = result[f"{cls} False one"]
            weights = slice(-15, None)
            np.testing.assert_allclose(
                on_two[weights], composed[weights], rtol=1e-4, atol=1e-6, err_msg=case
            )
