"""Trainings of a moment: with a tiny network, and without what comes after the training."""

import pathlib

import keras
import pytest

import cb_keras
from experiments.training import protocol
from tests.experiments.cases import Run
from tests.experiments.training.cases import tiny_network


@pytest.fixture(scope="session")
def train_tiny(train_short):
    """Function of (folder, flags) that trains a tiny network on digits; returns the `Run`."""

    def run(folder, *arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cb_keras, "resnet_cifar", tiny_network)
            return train_short(folder, *arguments)

    return run


@pytest.fixture(scope="session")
def only_train(train_tiny):
    """As `train_tiny`, without evaluations, exports and figures."""

    def stop(*_):
        raise KeyboardInterrupt

    def run(folder, *arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(protocol, "_export_and_measure", stop)
            with pytest.raises(KeyboardInterrupt):
                train_tiny(folder, "--eval_epochs=9", *arguments)
        return Run(pathlib.Path(folder))

    return run


@pytest.fixture
def network_of(train_short, monkeypatch, tmp_path):
    """Function of flags that returns the network as it is when its training would begin."""
    seen = []

    def fit(model, *_, **__):
        seen.append(model)
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.Model, "fit", fit)

    def build(*arguments):
        with pytest.raises(KeyboardInterrupt):
            train_short(tmp_path / f"network{len(seen)}", *arguments)
        return seen[-1]

    return build
