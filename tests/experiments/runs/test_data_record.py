"""What is kept about the data of a run: every change of them is told, and in which words."""

import dataclasses

import numpy as np
import pytest

from experiments.cli import UserError
from experiments.datasets import Data, Split
from experiments.runs import data_record

RANDOM = np.random.default_rng(0)
TRAIN = Split(RANDOM.integers(0, 256, (6, 2, 2, 1), "uint8"), np.array([0, 1, 2, 0, 1, 0], "int32"))
TEST = Split(RANDOM.integers(0, 256, (3, 2, 2, 1), "uint8"), np.array([0, 1, 2], "int32"))
DATA = Data("tfds:tiny:1.0.0", TRAIN, TEST, ["a", "b", "c"], "crop")


def about(data):
    counts = np.bincount(data.train.labels).tolist()
    record = data_record.of(data)
    return {"data": record, "class_names": data.class_names, "class_counts": counts}


def changed(**changes):
    return dataclasses.replace(DATA, **changes)


def test_the_same_data_read_again_do_not_differ():
    again = changed(train=Split(TRAIN.images.copy(), TRAIN.labels.copy()))
    assert data_record.differences(about(DATA), about(again)) == []


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            changed(name="tfds:tiny:1.1.0"),
            ["the data set is tfds:tiny:1.0.0 there, tfds:tiny:1.1.0 here"],
        ),
        (changed(class_names=["a", "c", "b"]), ["class 1 is 'b' there, 'c' here"]),
        (changed(class_names=list("abcd")), ["3 classes there, 4 here"]),
        (
            changed(train=Split(TRAIN.images[::-1], TRAIN.labels)),
            ["other pixels in the train images"],
        ),
        (
            changed(train=Split(TRAIN.images, TRAIN.labels[::-1])),
            ["other labels of the train images"],
        ),
        (
            changed(train=Split(TRAIN.images[1:], TRAIN.labels[1:])),
            ["6 train images there, 5 here", "class 0 has 3 training images there, 2 here"],
        ),
        (changed(test=Split(255 - TEST.images, TEST.labels)), ["other pixels in the test images"]),
    ],
)
def test_every_change_of_the_data_is_told_by_what_it_is(other, words):
    assert data_record.differences(about(DATA), about(other)) == words
    with pytest.raises(UserError, match="began with other data than are here now"):
        data_record.check(about(DATA), about(other), "run")


@pytest.mark.parametrize("there", [{}, {"data": None}, {"data": "tiny", "class_names": 3}])
def test_what_was_not_recorded_is_not_compared(there):
    assert data_record.differences(there, about(DATA)) == []
    assert data_record.name(there) is None
    data_record.check_alike({"a": there, "b": about(DATA)})


def test_runs_are_alike_by_what_each_of_them_recorded():
    older = {"class_names": DATA.class_names}
    data_record.check_alike({"old": older, "a": about(DATA), "b": about(DATA)})
    shifted = about(changed(class_names=["b", "c", "a"]))
    with pytest.raises(UserError, match=r"b \(there\) and old .*class 0 is 'b' there, 'a' here"):
        data_record.check_alike({"old": older, "b": shifted})
    other = about(changed(test=Split(255 - TEST.images, TEST.labels)))
    with pytest.raises(UserError, match=r"a \(there\) and b .*other pixels in the test images"):
        data_record.check_alike({"old": older, "a": about(DATA), "b": other})


def cut(counts, **changes):
    """`config.json` of an older run, which did not record its data."""
    flags = {"dataset": "tfds:tiny", "long_tail": "exponential", "imbalance_factor": 0.1}
    return {"flags": {**flags, **changes}, "class_names": list("ab"), "class_counts": counts}


def test_runs_that_recorded_no_data_are_alike_by_the_class_counts_of_the_same_cut():
    older, newer = cut([90, 9]), {**cut([80, 8]), "data": {"name": "tfds:tiny:1.0.0"}}
    for runs in ({"a": older, "b": cut([80, 8], seed=1)}, {"a": newer, "b": older}):
        with pytest.raises(UserError, match=r"class 0 has \d+ training images there, \d+ here"):
            data_record.check_alike(runs)
    others = (cut([90, 90], imbalance_factor=1.0), cut([99, 90], long_tail="natural"))
    data_record.check_alike(dict(enumerate([older, cut([90, 9], seed=1), *others])))
    more = cut([99, 80], long_tail="natural", imbalance_factor=0.02)
    with pytest.raises(UserError, match=r"2 \(there\) and 3 \(here\)"):
        data_record.check_alike(dict(enumerate([older, *others, more])))


def test_the_label_tells_data_of_one_name_apart():
    other = changed(test=Split(255 - TEST.images, TEST.labels))
    labels = [data_record.label(data_record.of(data)) for data in (DATA, DATA, other)]
    assert labels[0] == labels[1] != labels[2]
    assert labels[0].startswith("tfds:tiny:1.0.0 (")
