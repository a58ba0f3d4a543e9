"""What the library asks a compiled model of several outputs, without a public name for it."""

import keras
import numpy as np

from cb_keras import private_api


def test_metrics_and_losses_are_known_by_output():
    inputs = keras.Input((3,))
    outputs = {name: keras.layers.Dense(2, name=name)(inputs) for name in "ab"}
    x, y = np.ones((2, 3), "float32"), np.array([0, 1])
    crossentropy = keras.losses.SparseCategoricalCrossentropy
    losses = {name: crossentropy(from_logits=True) for name in "ab"}
    plain = {"a": keras.metrics.MeanSquaredError(), "b": keras.metrics.MeanAbsoluteError()}
    weighted = [None, keras.metrics.MeanSquaredError()]
    model = keras.Model(inputs, outputs)
    model.compile(loss=losses, metrics=plain, weighted_metrics=weighted)
    assert private_api.compiled_outputs(model) == []
    model.train_on_batch(x, dict.fromkeys("ab", y))
    assert private_api.compiled_outputs(model) == [
        ("a", [plain["a"]], [losses["a"]]),
        ("b", [plain["b"], weighted[1]], [losses["b"]]),
    ]
    one = keras.Sequential([keras.layers.Dense(2)])
    one.compile(loss=losses["a"], metrics=[plain["a"]])
    one.train_on_batch(x, y)
    (output,) = private_api.compiled_outputs(one)
    assert (output.metrics, output.losses) == ([plain["a"]], [losses["a"]])
