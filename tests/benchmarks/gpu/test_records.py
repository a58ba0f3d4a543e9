"""Trainings on the images that travelled become records of runs on the data set itself."""

import json
import types

import numpy as np
import pytest
from sklearn.datasets import load_digits

from benchmarks.gpu import images, records
from experiments.datasets import Split
from experiments.datasets.data import Data
from experiments.runs import data_record
from experiments.training import flags as train_flags


@pytest.fixture
def training(monkeypatch):
    """What the stage saves of one run on digits, which stand in for the data set."""
    digits = load_digits()
    pixels = (digits.images * 15).astype("uint8")[..., None]
    labels = digits.target.astype("int32")
    train, test = Split(pixels[:1300], labels[:1300]), Split(pixels[1300:], labels[1300:])
    data = Data("tfds:digits:1.0.0", train, test, [str(c) for c in range(10)], "crop")
    tail = {"x_train": pixels[:300], "y_train": labels[:300]}
    tail |= {"x_test": test.images, "y_test": test.labels}
    monkeypatch.setattr(records.datasets, "load", lambda name, folder: data)
    monkeypatch.setattr(images, "of_cifar10", lambda folder: tail)
    flags = {**train_flags.protocol_defaults(), "dataset": "npz:tail.npz", "long_tail": "natural"}
    archive = {
        "name": "npz:/somewhere/build/gpu/tail.npz",
        "train": data_record.of_split(Split(pixels[:300], labels[:300])),
        "test": data_record.of_split(test),
    }
    figures = {"config": {"flags": flags, "data": archive}, "metrics": {"accuracy": 0.5}}
    figures["history"] = "epoch,loss\n"
    steps = {"images": {"figures": {"bytes": 7}}, "softmax_power0": {"figures": figures}}
    return types.SimpleNamespace(saved={"steps": steps}, data=data, archive=archive)


def test_a_record_names_the_data_set_its_cut_and_no_folder(training):
    ((name, config, metrics, history),) = records.records(training.saved, None)
    assert name.startswith("cifar10_factor0.02_softmax_power")
    assert config["flags"]["dataset"] == "cifar10"
    assert config["flags"]["long_tail"] == "exponential"
    assert config["data"] == data_record.of(training.data)
    assert config["archive"] == "npz:tail.npz"
    assert (metrics, history) == ({"accuracy": 0.5}, "epoch,loss\n")
    assert "somewhere" not in json.dumps(config)


def test_a_run_of_another_seed_names_the_seed_of_the_tail(training):
    training.saved["steps"]["softmax_power0"]["figures"]["config"]["flags"]["seed"] = 2
    ((name, config, *_),) = records.records(training.saved, None)
    assert (config["flags"]["seed"], config["flags"]["long_tail_seed"]) == (2, 0)
    assert name.startswith("cifar10_factor0.02_tail0_")
    assert name.endswith("_seed2")


def test_a_run_on_other_images_is_refused(training):
    other = Split(np.zeros((300, 8, 8, 1), "uint8"), np.zeros(300, "int32"))
    training.archive["train"] = data_record.of_split(other)
    with pytest.raises(SystemExit, match="softmax_power0 was trained neither on the data"):
        list(records.records(training.saved, None))


def test_a_run_on_all_images_keeps_its_own_cut(training):
    for part in ("train", "test"):
        training.archive[part] = data_record.of(training.data)[part]
    flags = training.saved["steps"]["softmax_power0"]["figures"]["config"]["flags"]
    flags |= {"long_tail": "exponential", "imbalance_factor": 1.0}
    ((name, config, *_),) = records.records(training.saved, None)
    assert name.startswith("cifar10_factor1_softmax_power")
    assert config["flags"]["imbalance_factor"] == 1.0


def test_flags_at_their_defaults_that_no_other_record_holds_are_left_out(tmp_path):
    flags = {"depth": 32, "ema": 0.0, "mixup_alpha": 0.2}
    assert records._plain(flags, None) == flags
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"flags": {"depth": 32}}')
    known = records._known_flags(tmp_path)
    assert records._plain(flags, known) == {"depth": 32, "mixup_alpha": 0.2}
