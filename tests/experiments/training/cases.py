"""What the tests of the training share: a network that takes a moment, and ways to stop a run."""

import math

import keras
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
