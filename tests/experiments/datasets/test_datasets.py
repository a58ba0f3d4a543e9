"""Data sets: what is read, what is cut, and what is told when it can't be read."""

import os
import pathlib
import shutil
import sys

import numpy as np
import pytest

from experiments import datasets
from experiments.cli import UserError
from experiments.datasets import Data, Split


def load_error(*arguments):
    with pytest.raises(UserError) as caught:
        datasets.load(*arguments)
    return str(caught.value)


# Digits


def test_digits_are_scikit_learns_images_from_0_to_255(real_digits):
    images, labels = real_digits
    data = datasets.load("digits")
    for split, number in ((data.train, 1297), (data.test, 500)):
        assert split.images.shape == (number, 8, 8, 1)
        assert split.images.dtype == np.uint8
        assert split.labels.shape == (number,)
        assert split.labels.dtype == np.int32
        assert split.images.max() == 255
    assert data.class_names == list("0123456789")
    assert data.augmentation == "crop"  # a flipped digit is no digit
    # Together the two splits are the whole file, no image twice.
    together = np.concatenate([data.train.images, data.test.images]).reshape(1797, -1)
    together = np.column_stack([together, np.concatenate([data.train.labels, data.test.labels])])
    expected = np.column_stack([images.reshape(1797, -1), labels])
    assert sorted(map(tuple, together)) == sorted(map(tuple, expected))


def test_the_test_digits_are_the_last_50_of_each_class_in_file_order(real_digits):
    images, labels = real_digits
    data = datasets.load("digits")
    for c in range(10):
        of_class = images[labels == c]
        np.testing.assert_array_equal(data.test.images[data.test.labels == c], of_class[-50:])
        np.testing.assert_array_equal(data.train.images[data.train.labels == c], of_class[:-50])


# The long tail


def test_the_long_tail_of_the_digits_has_cuis_profile():
    train = datasets.load("digits").train
    kept, counts = datasets.cut_long_tail(train, 10, "exponential", 0.02, seed=0)
    # int(124 * 0.02^(c / 9)), with 124 the smallest class of the 1297.
    assert counts.tolist() == [124, 80, 51, 33, 21, 14, 9, 5, 3, 2]
    assert np.bincount(kept.labels).tolist() == counts.tolist()
    assert len(kept.images) == len(kept.labels) == 342


def test_factor_1_is_balanced():
    train = datasets.load("digits").train
    kept, counts = datasets.cut_long_tail(train, 10, "exponential", 1.0, seed=0)
    assert counts.tolist() == [124] * 10
    assert len(kept.labels) == 1240


def test_natural_keeps_everything_as_it_is():
    train = datasets.load("digits").train
    kept, counts = datasets.cut_long_tail(train, 10, "natural", 0.02, seed=0)
    assert kept is train
    assert counts.tolist() == np.bincount(train.labels).tolist()


def numbered(counts):
    """A split whose image i is the number i, so that choices can be read back."""
    labels = np.repeat(np.arange(len(counts)), counts).astype("int32")
    labels = labels[np.random.default_rng(0).permutation(labels.size)]
    return Split(np.arange(labels.size).reshape(-1, 1, 1, 1), labels)


def test_the_seed_decides_which_examples_stay():
    split = numbered([60, 60, 60])

    def chosen(seed):
        kept, _ = datasets.cut_long_tail(split, 3, "exponential", 0.1, seed)
        np.testing.assert_array_equal(kept.labels, split.labels[kept.images.ravel()])
        return set(kept.images.ravel())

    assert chosen(0) == chosen(0)
    assert chosen(0) != chosen(1)


@pytest.mark.parametrize("long_tail", ["exponential", "natural"])
@pytest.mark.parametrize("counts", [[5, 0, 5], [5, 5, 0]])
def test_a_class_without_training_examples_is_refused_by_number(long_tail, counts):
    with pytest.raises(UserError, match=f"class {counts.index(0)} has no training examples"):
        datasets.cut_long_tail(numbered(counts), 3, long_tail, 1.0, seed=0)


def test_a_factor_that_empties_a_class_is_refused_with_the_smallest_that_does_not():
    split = numbered([20, 20])
    expected = r"--imbalance_factor: .*use at least 0\.05.*--long_tail=natural"
    with pytest.raises(UserError, match=expected):
        datasets.cut_long_tail(split, 2, "exponential", 0.01, seed=0)
    _, counts = datasets.cut_long_tail(split, 2, "exponential", 0.05, seed=0)
    assert counts.tolist() == [20, 1]


# tfds


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
        "tfds:tiny:1.0.0 has no test images of 2 of its 10 classes, which count in no mean: "
        "'3', '8'\n"
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


@pytest.mark.parametrize("share", [0, 0.5])
def test_truncated_files_are_refused_with_the_remedy(tmp_path, write_tfds, share):
    folder = write_tfds(tmp_path, "tiny", {"train": slice(0, 20), "test": slice(20, 31)})
    (file,) = folder.glob("*train*")
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    message = load_error("tfds:tiny", tmp_path)
    assert str(folder) in message
    assert "prepare them again" in message


def test_a_data_set_is_the_same_by_its_short_and_its_tfds_name(tmp_path, write_tfds):
    write_tfds(tmp_path, "cifar10", {"train": slice(0, 20), "test": slice(20, 31)})
    short, long = (datasets.load(name, tmp_path) for name in ("cifar10", "tfds:cifar10"))
    assert short.augmentation == "crop_flip"  # the protocol
    assert long.augmentation == short.augmentation


@pytest.mark.parametrize("name", ["mnist", "svhn_cropped", "my_digits"])
def test_digits_and_numbers_are_never_flipped(tmp_path, write_tfds, name):
    write_tfds(tmp_path, name, {"train": slice(0, 20), "test": slice(20, 31)})
    assert datasets.load(f"tfds:{name}", tmp_path).augmentation == "crop"


# Classes by name


def named(class_names, labels):
    split = Split(np.zeros((len(labels), 1, 1, 1), "uint8"), np.array(labels, "int32"))
    return Data("tfds:tiny:1.0.0", split, split, class_names, "crop")


def test_test_images_get_the_class_ids_of_the_model_by_name():
    def labels(class_names, labels, model):
        return datasets.test_split_for(named(class_names, labels), model).labels.tolist()

    assert labels(["b", "c", "a"], [0, 1, 2, 2], ["a", "b", "c"]) == [1, 2, 0, 0]
    assert labels(["c", "a"], [0, 1], ["a", "b", "c"]) == [2, 0]
    assert labels(["c", "new", "a"], [0, 2], ["a", "b", "c"]) == [2, 0]  # none of `new` to judge
    assert labels(["a", "a"], [0, 1], ["a", "a"]) == [0, 1]  # the same list needs no names


@pytest.mark.parametrize(
    ("class_names", "model", "message"),
    [
        (["a", "x"], ["a", "b"], "images of classes that the model does not have: 'x'"),
        (["0", "1"], ["cat", "dog"], "does not have: '0', '1'; the model's are 'cat', 'dog'"),
        (["a", "a"], ["a", "b"], "tfds:tiny:1.0.0 has two classes of one name"),
        (["a", "b"], ["b", "b", "a"], "the model has two classes of one name"),
    ],
)
def test_classes_that_can_not_be_found_by_name_are_refused(class_names, model, message):
    with pytest.raises(UserError, match=message):
        datasets.test_split_for(named(class_names, [0, 1]), model)


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


def test_cifar10_is_whole(cifar10):
    assert cifar10.train.images.shape == (50000, 32, 32, 3)
    assert np.bincount(cifar10.train.labels).tolist() == [5000] * 10
    assert cifar10.test.images.shape == (10000, 32, 32, 3)
    assert np.bincount(cifar10.test.labels).tolist() == [1000] * 10
    assert cifar10.augmentation == "crop_flip"


def test_cifar10_at_002_has_the_counts_of_the_paper(cifar10):
    kept, counts = datasets.cut_long_tail(cifar10.train, 10, "exponential", 0.02, seed=0)
    # Cui et al. 2019, official code: img_num_per_cls of CIFAR-10 at 0.02.
    assert counts.tolist() == [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100]
    assert len(kept.labels) == 13996
