"""`--download`: tfds prepares what is absent, and nothing is prepared without the flag."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from experiments import datasets
from experiments.cli import UserError


@pytest.fixture(scope="module")
def digits_builder(real_digits):
    """A data set that tfds knows by the name local_digits, and prepares from scikit-learn's."""
    images, labels = real_digits

    class LocalDigits(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            image, label = (
                tfds.features.Image(shape=(8, 8, 1)),
                tfds.features.ClassLabel(num_classes=10),
            )
            features = tfds.features.FeaturesDict({"image": image, "label": label})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {
                "train": self._generate_examples(0, 60),
                "test": self._generate_examples(60, 90),
            }

        def _generate_examples(self, start, end):
            for i in range(start, end):
                yield i, {"image": images[i], "label": int(labels[i])}

    return LocalDigits


@pytest.mark.usefixtures("digits_builder")
def test_download_prepares_the_data_with_tfds_and_reads_it(tmp_path, real_digits):
    data = datasets.load("tfds:local_digits", tmp_path, download=True)
    images, labels = real_digits
    assert (tmp_path / "local_digits" / "1.0.0" / "dataset_info.json").is_file()
    assert np.bincount(data.train.labels).tolist() == np.bincount(labels[:60]).tolist()
    assert sorted(i.tobytes() for i in data.test.images) == sorted(
        i.tobytes() for i in images[60:90]
    )


@pytest.mark.slow
def test_what_tfds_needs_to_fetch_cifar10_is_installed(tmp_path):
    # tfds imports some of its own needs only once it downloads.
    urls = tfds.builder("cifar10", data_dir=tmp_path).url_infos
    assert any("cifar-10" in url for url in urls)


class Builder:
    """Stands for tfds.builder; `prepared` lists what it was asked to prepare."""

    def __init__(self, prepare):
        self.prepared = []
        self.prepare = prepare

    def __call__(self, name, data_dir):
        self.asked = (name, data_dir)
        return self

    def download_and_prepare(self):
        self.prepared.append(self.asked)
        self.prepare()


def test_nothing_is_prepared_without_the_flag(tmp_path, monkeypatch):
    builder = Builder(lambda: None)
    monkeypatch.setattr(tfds, "builder", builder)
    with pytest.raises(UserError, match="no prepared tiny"):
        datasets.load("tfds:tiny", tmp_path)
    assert builder.prepared == []


def test_what_is_there_is_not_prepared_again(tmp_path, monkeypatch, write_tfds):
    write_tfds(tmp_path, "tiny", {"train": slice(0, 20), "test": slice(20, 31)})
    builder = Builder(lambda: None)
    monkeypatch.setattr(tfds, "builder", builder)
    assert len(datasets.load("tfds:tiny", tmp_path, download=True).train.labels) == 20
    assert builder.prepared == []


def test_it_is_prepared_in_the_folder_that_is_read(tmp_path, monkeypatch, write_tfds):
    splits = {"train": slice(0, 20), "test": slice(20, 31)}
    builder = Builder(lambda: write_tfds(tmp_path, "tiny", splits))
    monkeypatch.setattr(tfds, "builder", builder)
    assert len(datasets.load("tfds:tiny", tmp_path, download=True).train.labels) == 20
    assert builder.prepared == [("tiny", tmp_path)]


@pytest.mark.parametrize(
    "error", [ConnectionError("no network"), OSError(28, "No space left on device")]
)
def test_a_download_that_fails_is_told_in_one_line(tmp_path, monkeypatch, error):
    def fail():
        raise error

    monkeypatch.setattr(tfds, "builder", Builder(fail))
    with pytest.raises(UserError) as caught:
        datasets.load("tfds:tiny", tmp_path, download=True)
    assert str(error) in str(caught.value)


def test_a_name_that_tfds_does_not_know_is_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match="no_such_data_set") as caught:
        datasets.load("tfds:no_such_data_set", tmp_path, download=True)
    assert len(str(caught.value).splitlines()) == 1  # tfds itself lists a thousand names
