"""Prepared data sets of tfds: where they are found, what is read, what is told."""

import os
import pathlib
import shutil
import sys

import numpy as np
import pytest

from experiments import datasets
from experiments.cli import UserError


def load_error(*arguments):
    with pytest.raises(UserError) as caught:
        datasets.load(*arguments)
    return str(caught.value)


def test_a_prepared_tfds_data_set_is_read_whole_and_in_order(tmp_path, write_tfds, real_digits):
    write_tfds(tmp_path, "tiny", {"train": slice(0, 700), "test": slice(700, 730)})
    data = datasets.load("tfds:tiny", tmp_path)
    images, labels = real_digits
    np.testing.assert_array_equal(data.train.images, images[:700])
    np.testing.assert_array_equal(data.train.labels, labels[:700])
    np.testing.assert_array_equal(data.test.images, images[700:730])
    assert data.train.images.dtype == np.uint8
    assert data.train.labels.dtype == np.int32
    assert data.class_names == list("0123456789")


def test_the_validation_split_stands_in_for_a_missing_test_split_and_that_is_told(
    tmp_path, write_tfds, capsys
):
    write_tfds(tmp_path, "tiny", {"train": slice(0, 20), "validation": slice(20, 31)})
    assert len(datasets.load("tfds:tiny", tmp_path).test.labels) == 11
    assert "has no split `test`: its split `validation` is the test" in capsys.readouterr().out


def test_classes_without_test_images_are_told_by_name(tmp_path, write_tfds, real_digits, capsys):
    chosen = np.flatnonzero((real_digits[1] != 3) & (real_digits[1] != 8))
    write_tfds(tmp_path, "tiny", {"train": slice(0, 20), "test": chosen[:60]})
    write_tfds(tmp_path, "whole", {"train": slice(0, 20), "test": slice(20, 100)})
    datasets.load("tfds:tiny", tmp_path)
    expected = (
        "tfds:tiny:1.0.0 has no test images of 2 of its 10 classes, which count in no mean, but in "
        "macro F1, as 0, where a model predicts them: '3', '8'\n"
    )
    assert expected in capsys.readouterr().out
    datasets.load("tfds:whole", tmp_path)
    assert capsys.readouterr().out == ""


def test_the_test_split_goes_before_the_validation_split(tmp_path, write_tfds):
    splits = {"train": slice(0, 20), "validation": slice(20, 31), "test": slice(31, 36)}
    write_tfds(tmp_path, "tiny", splits)
    assert len(datasets.load("tfds:tiny", tmp_path).test.labels) == 5


def test_the_newest_version_is_taken_unless_one_is_named(tmp_path, write_tfds):
    for number, version in ((20, "1.9.0"), (21, "1.10.0"), (22, "1.2.3")):
        splits = {"train": slice(0, number), "test": slice(0, 5)}
        write_tfds(tmp_path, "tiny", splits, version)
    newest = datasets.load("tfds:tiny", tmp_path)
    assert len(newest.train.labels) == 21  # 1.10 is after 1.9
    assert newest.name == datasets.full_name("tfds:tiny", tmp_path) == "tfds:tiny:1.10.0"
    assert datasets.full_name("tfds:absent", tmp_path) is None
    assert len(datasets.load("tfds:tiny:1.2.3", tmp_path).train.labels) == 22
    assert "no prepared tiny:9.9.9" in load_error("tfds:tiny:9.9.9", tmp_path)


def test_of_several_configurations_one_must_be_named(tmp_path, write_tfds):
    for number, config in ((20, "plain"), (21, "noisy")):
        splits = {"train": slice(0, number), "test": slice(0, 5)}
        write_tfds(tmp_path, "tiny", splits, config=config)
    message = load_error("tfds:tiny", tmp_path)
    assert "several configurations; name one of them: tfds:tiny/noisy, tfds:tiny/plain" in message
    noisy = datasets.load("tfds:tiny/noisy", tmp_path)
    assert len(noisy.train.labels) == 21
    assert noisy.name == "tfds:tiny/noisy:1.0.0"
    assert datasets.load(noisy.name, tmp_path).name == noisy.name
    assert len(datasets.load("tfds:tiny/plain:1.0.0", tmp_path).train.labels) == 20


def test_images_of_varying_size_are_refused(tmp_path, write_tfds):
    splits = {"train": slice(0, 20), "test": slice(20, 31)}
    write_tfds(tmp_path, "tiny", splits, image_shape=(None, None, 1))
    assert "images of one size, uint8, are needed" in load_error("tfds:tiny", tmp_path)


def test_a_data_set_without_labels_is_refused_with_the_features_it_has(tmp_path, write_tfds):
    splits = {"train": slice(0, 20), "test": slice(20, 31)}
    write_tfds(tmp_path, "tiny", splits, label="digit")
    message = load_error("tfds:tiny", tmp_path)
    assert "digit" in message
    assert "`image` and `label` are needed" in message


def test_a_data_set_without_test_data_is_refused_with_the_splits_it_has(tmp_path, write_tfds):
    write_tfds(tmp_path, "tiny", {"train": slice(0, 20), "other": slice(20, 31)})
    message = load_error("tfds:tiny", tmp_path)
    assert "other" in message
    assert "`test` (or `validation`) are needed" in message


def test_an_empty_file_is_refused_with_the_remedy(tmp_path, write_tfds):
    folder = write_tfds(tmp_path, "tiny", {"train": slice(0, 20), "test": slice(20, 31)})
    (file,) = folder.glob("*train*")
    file.write_bytes(b"")
    message = load_error("tfds:tiny", tmp_path)
    assert str(folder) in message
    assert "prepare them again" in message


def test_a_data_set_is_the_same_by_its_short_and_its_tfds_name(tmp_path, write_tfds):
    write_tfds(tmp_path, "cifar10", {"train": slice(0, 20), "test": slice(20, 31)})
    short, long = (datasets.load(name, tmp_path) for name in ("cifar10", "tfds:cifar10"))
    assert short.augmentation == "crop_flip"  # the protocol
    assert long.augmentation == short.augmentation


def test_what_may_be_digits_is_never_flipped(tmp_path, write_tfds):
    write_tfds(tmp_path, "svhn_cropped", {"train": slice(0, 20), "test": slice(20, 31)})
    assert datasets.load("tfds:svhn_cropped", tmp_path).augmentation == "crop"


# Absent data


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "tfds:mnist"])
def test_absent_data_is_told_at_once_with_the_folder_and_both_remedies(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)  # importing it fails
    message = load_error(name, "data")
    assert str(tmp_path / "data") in message
    assert "--data_dir" in message
    assert "--download" in message
    assert not (tmp_path / "data").exists()


def test_the_folder_is_the_flags_then_the_environments(tmp_path, write_tfds, monkeypatch):
    write_tfds(tmp_path / "flag", "tiny", {"train": slice(0, 20), "test": slice(20, 31)})
    write_tfds(tmp_path / "environment", "tiny", {"train": slice(0, 21), "test": slice(20, 31)})
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "environment"))
    assert len(datasets.load("tfds:tiny", tmp_path / "flag").train.labels) == 20
    assert len(datasets.load("tfds:tiny").train.labels) == 21
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(tmp_path / "tensorflow_datasets") in load_error("tfds:tiny")


def test_a_data_set_copied_without_its_version_folder_is_not_taken_for_one(tmp_path, write_tfds):
    folder = write_tfds(tmp_path, "tiny", {"train": slice(0, 20), "test": slice(20, 31)})
    for file in folder.iterdir():
        shutil.move(file, tmp_path / "tiny")
    folder.rmdir()
    assert "no prepared tiny" in load_error("tfds:tiny", tmp_path)


# Real CIFAR-10


@pytest.fixture(scope="module")
def cifar10():
    folder = os.environ.get("TFDS_DATA_DIR")
    if not folder or not list(pathlib.Path(folder, "cifar10").glob("*/dataset_info.json")):
        pytest.skip("no prepared cifar10 in $TFDS_DATA_DIR")
    return datasets.load("cifar10")


@pytest.mark.slow
def test_cifar10_is_whole(cifar10):
    assert cifar10.train.images.shape == (50000, 32, 32, 3)
    assert np.bincount(cifar10.train.labels).tolist() == [5000] * 10
    assert cifar10.test.images.shape == (10000, 32, 32, 3)
    assert np.bincount(cifar10.test.labels).tolist() == [1000] * 10
    assert cifar10.augmentation == "crop_flip"


@pytest.mark.slow
def test_cifar10_at_002_has_the_counts_of_the_paper(cifar10):
    kept, counts = datasets.cut_long_tail(cifar10.train, 10, "exponential", 0.02, seed=0)
    # Cui et al. 2019, official code: img_num_per_cls of CIFAR-10 at 0.02.
    assert counts.tolist() == [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100]
    assert len(kept.labels) == 13996
