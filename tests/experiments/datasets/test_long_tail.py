"""The long tail that is cut from a training set."""

import numpy as np
import pytest

from experiments import datasets
from experiments.cli import UserError
from experiments.datasets import Split


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
    split = numbered([240, 20])
    expected = (
        r"--imbalance_factor: .*use at least 0\.05.* smallest first, class 1 with 20 training "
        r"images here, where the largest has 240, .*--long_tail=natural"
    )
    with pytest.raises(UserError, match=expected):
        datasets.cut_long_tail(split, 2, "exponential", 0.01, seed=0)
    _, counts = datasets.cut_long_tail(split, 2, "exponential", 0.05, seed=0)
    assert counts.tolist() == [20, 1]
