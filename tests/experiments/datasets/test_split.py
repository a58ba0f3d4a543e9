"""Parts of every class that are set apart, by counts made by hand and real digits."""

import numpy as np
import pytest

from experiments import datasets
from experiments.cli import UserError
from experiments.datasets import Split, split


@pytest.mark.parametrize(
    ("counts", "fraction", "expected"),
    [
        ([100, 10, 5, 4, 2, 1], 0.2, [20, 2, 1, 1, 1, 0]),
        ([100, 10, 5, 4, 2, 1], 0.95, [95, 9, 4, 3, 1, 0]),  # never all of a class
        ([100, 10, 5, 4, 2, 1], 0.001, [1, 1, 1, 1, 1, 0]),
        ([7, 0, 3], 0, [0, 0, 0]),
        ([7, 0, 3], 1, [7, 0, 3]),
    ],
)
def test_a_part_of_every_class_is_set_apart(counts, fraction, expected):
    assert split.counts_apart(counts, fraction).tolist() == expected


def test_every_image_is_on_one_side_and_the_seed_says_on_which():
    labels = datasets.load("digits").train.labels
    stays, apart = split.apart(labels, 10, 0.1, seed=3)
    assert sorted([*stays, *apart]) == list(range(labels.size))
    counts = np.bincount(labels)
    assert np.bincount(labels[apart]).tolist() == np.rint(counts * 0.1).astype(int).tolist()
    np.testing.assert_array_equal(split.apart(labels, 10, 0.1, seed=3)[1], apart)
    assert not np.array_equal(split.apart(labels, 10, 0.1, seed=4)[1], apart)


def test_what_is_held_out_has_the_tail_of_the_training(capsys):
    data = datasets.load("digits")
    kept, _ = datasets.cut_long_tail(data.train, 10, "exponential", 0.01, seed=0)
    # Cui's profile of 124 images at 0.01: 124 74 44 26 16 9 5 3 2 1.
    trained, held_out = datasets.hold_out(kept, data.class_names, 0.25, seed=0)
    assert np.bincount(held_out.labels, minlength=10).tolist() == [31, 18, 11, 6, 4, 2, 1, 1, 1, 0]
    assert len(trained.labels) + len(held_out.labels) == len(kept.labels)
    assert trained.labels.min() == 0
    assert trained.labels.max() == 9
    assert "1 of 10 classes have a single training image" in capsys.readouterr().out


def test_classes_of_single_images_leave_nothing_to_hold_out():
    images = datasets.load("digits").train.images[:3]
    singles = Split(images, np.arange(3, dtype="int32"))
    with pytest.raises(UserError, match=r"--validation_fraction=0\.5: every class has a single"):
        datasets.hold_out(singles, ["a", "b", "c"], 0.5, seed=0)
