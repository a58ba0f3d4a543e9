"""What the tests of the training share: a network, ways to stop a run, what flags change."""

import math

import keras
import numpy as np
import pytest

from experiments.training.history import HistoryWriter


def tiny_network(depth, input_shape, num_classes, head, weight_decay, dtype):
    """In place of `cb_keras.resnet_cifar`: convolution, batch normalisation, one dense layer.

    TensorFlow traces it in a fraction of the time, and what is tested here does not depend on the
    number of layers. Layers have names, since a checkpoint is known by those of its variables.
    """
    penalty = keras.regularizers.L2(weight_decay / 2)
    start = 0.0 if head == "softmax" else -math.log(num_classes - 1)
    return keras.Sequential(
        [
            keras.Input(input_shape),
            keras.layers.Rescaling(1 / 128, -1, dtype=dtype),
            keras.layers.Conv2D(
                8, 3, use_bias=False, kernel_regularizer=penalty, dtype=dtype, name="convolution"
            ),
            keras.layers.BatchNormalization(momentum=0.9, dtype=dtype, name="norm"),
            keras.layers.ReLU(dtype=dtype),
            keras.layers.GlobalAveragePooling2D(dtype=dtype),
            keras.layers.Dense(
                num_classes,
                kernel_regularizer=penalty,
                bias_initializer=keras.initializers.Constant(start),
                dtype="float32",
                name="logits",
            ),
        ],
        name="tiny",
    )


def stop_after(epoch, monkeypatch):
    """Makes the trainer end with Ctrl-C in the callbacks at the end of an epoch."""
    original = HistoryWriter.on_epoch_end

    def on_epoch_end(self, done, logs=None):
        original(self, done, logs)
        if done + 1 == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(HistoryWriter, "on_epoch_end", on_epoch_end)


def stopped_after(epoch, train, folder, *arguments):
    """Trains until the callbacks at the end of an epoch, where Ctrl-C ends it."""
    with pytest.MonkeyPatch.context() as patch:
        stop_after(epoch, patch)
        with pytest.raises(KeyboardInterrupt):
            train(folder, *arguments)


# What a changed flag must show: functions of the run with it and of the plain one.


def weights_differ(run, other):
    """The trained variables, which are all of the same shapes, are not the same."""
    pairs = list(zip(run.variables, other.variables, strict=True))
    assert all(a.shape == b.shape for a, b in pairs)
    assert not all(np.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in pairs)


def rates(*expected):
    def check(run, other):
        np.testing.assert_allclose(run.column("learning_rate"), expected, rtol=1e-5)
        assert run.column("learning_rate") != other.column("learning_rate")
        weights_differ(run, other)

    return check


def config(*keys, value):
    def check(run, other):
        found, others = run.config, other.config
        for key in keys:
            found, others = found[key], others[key]
        assert found == value
        assert others != value

    return check


def class_weights(beta, power):
    """Cui et al. 2019 equation 4 under a power, in plain numpy."""

    def check(run, other):
        counts = np.array(run.config["class_counts"], "float64")
        raw = ((1 - beta**counts) / (1 - beta)) ** -power
        np.testing.assert_allclose(
            run.config["class_weights"], counts.size * raw / raw.sum(), rtol=1e-5
        )
        weights_differ(run, other)

    return check


def mean_weight_of_one(run, other):
    counts, weights = (np.array(run.config[f"class_{x}"]) for x in ("counts", "weights"))
    assert (counts * weights).sum() / counts.sum() == pytest.approx(1, rel=1e-5)
    assert np.ptp(np.array(other.config["class_weights"]) / weights) < 1e-4  # the same direction
    weights_differ(run, other)


def epochs(number):
    def check(run, other):
        assert (len(run.history), len(other.history)) == (number, 2)

    return check


def evaluated_in(*expected):
    def check(run, other):
        assert [r["epoch"] for r in run.history if r["val_accuracy"]] == list(expected)
        assert [r["epoch"] for r in other.history if r["val_accuracy"]] == []

    return check


def an_average_of_every_variable(run, other):
    """The training is the same, and the checkpoint has the averages too."""
    plain = other.variables
    assert all(map(np.array_equal, run.variables, plain))
    averages = run.variables[len(plain) :]
    assert [a.shape for a in averages] == [v.shape for v in plain[:7]]  # of the tiny network
    assert not any(map(np.array_equal, averages, plain))


def other_examples(run, other):
    assert run.config["class_counts"] == other.config["class_counts"]
    weights_differ(run, other)
