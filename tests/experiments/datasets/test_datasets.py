"""The registry of sources: names, what is said of them, what an unknown one gives."""

import pytest
from absl import flags

from experiments import datasets
from experiments.datasets import data_flags  # noqa: F401

OWN = ("tfds:mnist", "tfds:a/b-c:1.0.0", "folder:/", f"npz:{__file__}")
KNOWN = ("digits", "cifar10", "cifar100", *OWN)
UNKNOWN = ("Digits", "mnist", "cifar", "tfds:", "tfds:a:1.0", "tfds:../b", "", "digits ")
UNKNOWN += ("folder:", "npz:")


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_name_is_of_one_source(name):
    datasets.check_name(name)
    assert [source.accepts(name) for source in datasets.SOURCES].count(True) == 1


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    for function in (datasets.check_name, datasets.load, datasets.full_name):
        with pytest.raises(ValueError, match="unknown data set") as caught:
            function(name)
        assert str(caught.value) == (
            f"unknown data set {name!r}; use cifar10, cifar100, digits, tfds:NAME with NAME of "
            "the form name[/config][:1.0.0], folder:PATH, or npz:FILE."
        )


def test_nobodys_own_data_are_cut_without_being_asked():
    tails = {name: datasets.default_long_tail(name) for name in (*KNOWN, "unknown")}
    assert [name for name, tail in tails.items() if tail == "natural"] == [*OWN]
    assert set(tails.values()) == {"natural", "exponential"}


def test_the_help_names_every_source():
    expected = (
        "cifar10, cifar100, digits, tfds:NAME for any image data set of tfds, folder:PATH for "
        "images in class folders, or npz:FILE for arrays of numpy.savez"
    )
    assert expected == datasets.NAMES
    assert flags.FLAGS["dataset"].help == f"{expected}."


def test_what_a_source_does_not_have_is_not_asked_of_it():
    data = datasets.load("digits", choices={"test_fraction": 0.5, "image_size": (4, 4)})
    assert (len(data.test.labels), data.train.images.shape[1:]) == (500, (8, 8, 1))
    assert data.choices == {}
