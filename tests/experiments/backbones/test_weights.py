"""Weights of a trunk from a file."""

import keras
import numpy as np
import pytest

from experiments.backbones import weights
from experiments.cli import UserError
from tests.experiments.training.cases import tiny_network


def small(classes=10, channels=1, seed=0):
    keras.utils.set_random_seed(seed)
    return tiny_network(8, (8, 8, channels), classes, "softmax", 1e-4, "float32")


def test_a_file_of_the_same_trunk_is_taken_and_the_last_layer_left(tmp_path):
    start = small(classes=7, seed=1)
    trunk = keras.Model(start.inputs, start.layers[-2].output)
    trunk.save_weights(tmp_path / "trunk.weights.h5")
    start.save(tmp_path / "whole.keras")  # with other classes
    trunk.save(tmp_path / "old.h5")
    for file in ("trunk.weights.h5", "whole.keras", "old.h5"):
        model = small()
        kernel = model.layers[-1].kernel.numpy()
        weights.load(model, tmp_path / file)
        for value, expected in zip(model.weights[:-2], start.weights[:-2], strict=True):
            np.testing.assert_array_equal(value, expected)
        np.testing.assert_array_equal(model.layers[-1].kernel, kernel)


def test_a_file_of_another_network_or_a_damaged_one_is_refused(tmp_path):
    other = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, use_bias=False)])
    other.save_weights(tmp_path / "other.weights.h5")  # a part of the trunk
    other.save(tmp_path / "other.keras")
    small(channels=3).save(tmp_path / "colours.keras")
    diverged = small()
    diverged.set_weights([w * np.nan for w in diverged.get_weights()])
    diverged.save(tmp_path / "nan.keras")
    (tmp_path / "damaged.h5").write_bytes(b"\x89HDF\r\n\x1a\nnothing")
    for file, message in (
        ("other.weights.h5", "does not hold the weights of tiny without its classes"),
        ("other.keras", "and the first .* are not the trunk's"),
        ("colours.keras", r"\(3, 3, 3, 8\) instead of \(3, 3, 1, 8\)"),
        ("nan.keras", "no finite values for .*convolution/kernel"),
        ("damaged.h5", "or is damaged"),
    ):
        with pytest.raises(UserError, match=message):
            weights.load(small(), tmp_path / file)


def test_a_run_records_the_name_and_a_digest_and_not_where_the_file_is(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"1")
    first = weights.recorded(str(tmp_path / "a.h5"))
    # sha256sum of the byte "1"
    assert first == "a.h5 (sha256 6b86b273ff34fce1)"
    (tmp_path / "a.h5").write_bytes(b"22")
    assert weights.recorded(str(tmp_path / "a.h5")) != first
    assert weights.recorded(None) is None
