"""Counts and weights that have names are read by class: pandas, dict and Counter against lists."""

import collections
import re
import types

import keras
import numpy as np
import pandas as pd
import pytest

import cb_keras
from cb_keras import callbacks, functional, metrics
from cb_keras.losses import ClassBalancedBinaryCrossentropy, ClassBalancedFocalCrossentropy

LABELS = np.repeat([2, 0, 3, 1], [400, 90, 25, 10])
COUNTS = [90, 10, 400, 25]  # class 2 is the largest: the order of sizes is not that of the classes
CONFUSION = np.diag([9, 1, 40, 2]) + np.eye(4, k=1, dtype=int)
LOGITS = np.random.default_rng(0).normal(size=(4, 4)).astype("float32")

NAMED = {
    "value_counts": lambda counts: pd.Series(np.repeat(range(4), counts)).value_counts(),
    "nullable": lambda counts: pd.Series(np.repeat(range(4), counts), dtype="Int64").value_counts(),
    "categories": lambda counts: pd.Series(
        np.repeat(range(4), counts), dtype="category"
    ).value_counts(),
    "Counter": lambda counts: collections.Counter(
        dict(sorted(enumerate(counts), key=lambda item: -item[1]))
    ),
    "dict": lambda counts: {float(c): counts[c] for c in (3, 1, 0, 2)},
    "read-only": lambda counts: types.MappingProxyType({c: counts[c] for c in (3, 1, 0, 2)}),
}


def scheduled(weights):
    loss = ClassBalancedFocalCrossentropy(COUNTS)
    callback = callbacks.ClassWeightScheduler(loss, lambda epoch: weights)
    callback.set_model(
        types.SimpleNamespace(
            make_train_function=lambda force: None, make_test_function=lambda force: None
        )
    )
    callback.on_epoch_begin(0)
    return np.asarray(loss.get_config()["class_weights"])


DOORS = {
    "effective_number": lambda counts: cb_keras.effective_number(counts, 0.9),
    "class_balanced_weights": cb_keras.class_balanced_weights,
    "choose_long_tail": lambda counts: cb_keras.choose_long_tail(LABELS, counts),
    "shot_groups": lambda counts: metrics.shot_groups(counts)[0]["few"],
    "classification_report": lambda counts: metrics.classification_report(CONFUSION, counts)[
        "few_accuracy"
    ],
    "loss's class_counts": lambda counts: ClassBalancedFocalCrossentropy(counts)(
        [0, 1, 2, 3], LOGITS
    ),
    "loss's class_weights": lambda weights: ClassBalancedFocalCrossentropy(class_weights=weights)(
        [0, 1, 2, 3], LOGITS
    ),
    "functional": lambda weights: functional.class_balanced_focal_crossentropy(
        [0, 1, 2, 3], LOGITS, weights
    ),
    "ClassWeightScheduler": scheduled,
}
doors = pytest.mark.parametrize("door", DOORS)


def value(door, counts):
    return np.asarray(keras.ops.convert_to_numpy(DOORS[door](counts)))


@pytest.mark.parametrize("kind", NAMED)
@doors
def test_counts_with_names_are_those_of_the_list_in_class_order(door, kind):
    named = NAMED[kind](COUNTS)
    assert list(getattr(named, "index", named)) != [0, 1, 2, 3]
    np.testing.assert_array_equal(value(door, named), value(door, COUNTS))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({0: 5, 1: 9, 3: 2}, "has no entry for class 2, but one for class 3"),
        ({1: 5, 2: 9, 3: 2}, "has no entry for class 0, but one for class 3"),
        (pd.Series([1, 1, 3]).value_counts(), "has no entry for class 0, but one for class 3"),
        (pd.Series(["cat", "dog", "cat"]).value_counts(), "'cat' is not a class id"),
        (pd.DataFrame({"y": [0, 1, 1]}).value_counts(), r"\(1,\) is not a class id"),
        ({"0": 5, "1": 9}, "'0' is not a class id"),
        ({-1: 5, 0: 9}, "-1 is not a class id"),
        ({0.5: 5, 0: 9}, "0.5 is not a class id"),
        (
            {True: 5, False: 9},
            r"True is not .*instance \[class_counts\[False\], class_counts\[True\]\]",
        ),
        (
            {0: 5, 7: 9, 3: 2},
            r"has no entry for class 1, .*\[ids\.index.* with `ids` \[0, 3, 7\]\.",
        ),
        (pd.Series([5, 9, 2], index=[0, 1, 0]), "has class 0 more than once"),
        ({5, 9}, "is a set, which is not in the order"),
        (frozenset([5, 9]), "is a frozenset, which is not in the order"),
        ({0: 5, 1: 9}.values(), "is a dict_values, which is not in the order"),
        ({0: 5, 1: 9}.items(), "is a dict_items, which is not in the order"),
        (iter([5, 9]), "is a list_iterator, which is not in the order"),
    ],
)
def test_what_does_not_name_each_class_once_is_refused(counts, message):
    with pytest.raises(ValueError, match=rf"`class_counts` .*{message}"):
        cb_keras.class_balanced_weights(counts)


@pytest.mark.parametrize(
    "counts",
    [
        pd.Series([True, False, False, True, False]).value_counts(),
        pd.Series([True, False, False, True, False], dtype="boolean").value_counts(),
        collections.Counter([True, False, False, True, False]),
        {np.True_: 2, np.False_: 3},
        {1: 2, 0: 3},
    ],
)
def test_counts_of_false_and_true_are_negatives_and_positives(counts):
    loss = ClassBalancedBinaryCrossentropy(counts)
    assert loss.class_counts == [3, 2]
    weights = pd.Series([1.8, 0.2], index=[True, False])
    loss.class_weights = weights
    np.testing.assert_allclose(loss.get_config()["class_weights"], [0.2, 1.8], rtol=1e-6)
    found = functional.class_balanced_binary_crossentropy([0, 1], [[0.0], [0.0]], weights)
    found = keras.ops.convert_to_numpy(found)
    np.testing.assert_allclose(found, np.log(2) * np.array([0.2, 1.8]), rtol=1e-5)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({True: 5}, "has no entry for class 0, but one for class 1"),
        ({False: 5}, r"must be \[n_negative, n_positive\]"),
        ({True: 5, "no": 9}, "is not a class id"),
        (pd.Series([1, 2, 3], index=[True, False, True]), "True is not a class id"),
    ],
)
def test_counts_that_do_not_name_both_sides_once_are_refused(counts, message):
    with pytest.raises(ValueError, match=rf"`class_counts` .*{message}"):
        ClassBalancedBinaryCrossentropy(counts)


@pytest.mark.parametrize("counts", [{0: 5, 1: 9, 3: 2}, {5, 9}], ids=["missing class", "set"])
@doors
def test_every_door_refuses_them(door, counts):
    with pytest.raises(ValueError, match=r"`.*` (has no entry for class 2|is a set)"):
        DOORS[door](counts)


def test_a_count_of_zero_by_name_is_refused_as_in_a_list():
    with pytest.raises(ValueError, match="class 1 has 0"):
        cb_keras.class_balanced_weights(collections.Counter({0: 5, 1: 0}))


def test_the_fused_op_reads_weights_by_class(fused_op):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the op is TensorFlow's")
    from cb_keras import fused

    def loss(weights):
        return fused.crossentropy("softmax", np.arange(4), LOGITS, weights).numpy()

    named = {c: float(COUNTS[c]) for c in (3, 1, 0, 2)}
    np.testing.assert_array_equal(loss(named), loss(np.array(COUNTS, "float32")))


def test_a_confusion_table_of_pandas_is_read_where_its_classes_are_in_order():
    table = pd.DataFrame(CONFUSION)
    expected = metrics.classification_report(CONFUSION, COUNTS)
    assert metrics.classification_report(table, COUNTS) == expected
    for axes in ({"index": [2, 0, 1, 3]}, {"columns": [2, 0, 1, 3]}):
        axis, ids = next(iter(axes.items()))
        message = f"`confusion` has the {axis} {ids}: they must be the class ids 0 to C-1 in this"
        for function in (
            metrics.per_class_accuracy,
            lambda t: metrics.classification_report(t, COUNTS),
        ):
            with pytest.raises(ValueError, match=re.escape(message)):
                function(table.reindex(**axes))
