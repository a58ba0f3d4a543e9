"""`class_counts` of arrays, text and pandas against numpy's bincount, scikit-learn and pandas."""

import warnings

import keras
import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
import sklearn.preprocessing
from keras import ops

import cb_keras

DIGITS = sklearn.datasets.load_digits().target[:1000]
COUNTS = np.bincount(DIGITS)
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEXT = [NAMES[digit] for digit in DIGITS]


def masks():
    """Segmentation masks: the digits of real images where there is ink, void (255) elsewhere."""
    digits = sklearn.datasets.load_digits()
    return np.where(digits.images > 8, digits.target[:, None, None], 255).astype("uint8")


IDS = {
    "int64": lambda: DIGITS,
    "uint8": lambda: DIGITS.astype("uint8"),
    "float32": lambda: DIGITS.astype("float32"),
    "list": lambda: DIGITS.tolist(),
    "column": lambda: DIGITS[:, None],
    "any shape": lambda: DIGITS.reshape(10, 4, 25),
    "tensor": lambda: ops.convert_to_tensor(DIGITS),
    "variable": lambda: keras.Variable(DIGITS, dtype="int32", trainable=False),
    "objects": lambda: DIGITS.astype(object),
    "Series": lambda: pd.Series(DIGITS, index=range(1000, 0, -1)),
    "nullable Series": lambda: pd.Series(DIGITS, dtype="Int64"),
    "Categorical of numbers": lambda: pd.Categorical(DIGITS, categories=range(9, -1, -1)),
    "DataFrame of a column": lambda: pd.DataFrame({"digit": DIGITS}),
    "one-hot": lambda: np.eye(10)[DIGITS],
    "one-hot bool": lambda: np.eye(10, dtype=bool)[DIGITS],
    "float16": lambda: DIGITS.astype("float16"),
    "bfloat16": lambda: ops.cast(DIGITS, "bfloat16"),
    "one-hot float16": lambda: ops.cast(np.eye(10)[DIGITS], "float16"),
    "one-hot bfloat16": lambda: ops.cast(np.eye(10)[DIGITS], "bfloat16"),
    "one-hot with positions": lambda: np.eye(10, dtype=int)[DIGITS].reshape(50, 20, 10),
    "get_dummies": lambda: pd.get_dummies(pd.Series(DIGITS)),
}


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("num_classes", [None, 10])
def test_counts_are_those_of_bincount_whatever_holds_the_labels(kind, num_classes):
    counts = cb_keras.class_counts(IDS[kind](), num_classes)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, COUNTS)


def test_counts_go_into_the_weights_and_the_losses_as_they_are():
    counts = cb_keras.class_counts(DIGITS)
    weights = cb_keras.class_balanced_weights(counts, beta=1.0)
    np.testing.assert_allclose(weights, 10 / COUNTS / (1 / COUNTS).sum(), rtol=1e-6)
    loss = cb_keras.losses.ClassBalancedSoftmaxCrossentropy(counts, beta=1.0)
    np.testing.assert_array_equal(ops.convert_to_numpy(loss.class_weights), weights)


def test_void_pixels_of_masks_are_not_counted():
    ids = masks()
    expected = np.bincount(ids[ids != 255], minlength=10)
    assert (ids == 255).any()
    counts = cb_keras.class_counts(ids, ignore_class=255)
    np.testing.assert_array_equal(counts, expected)
    minus_one = np.where(ids == 255, -1, ids.astype("int16"))
    np.testing.assert_array_equal(cb_keras.class_counts(minus_one, 10, -1), expected)


def test_masks_of_two_classes_are_class_ids_where_num_classes_or_ignore_class_says_so():
    ink = (masks() != 255).astype("int64")
    expected = [(ink == 0).sum(), ink.sum()]
    assert cb_keras.class_counts(ink, num_classes=2).tolist() == expected
    assert cb_keras.class_counts(ink, ignore_class=255).tolist() == expected
    assert cb_keras.class_counts(ink[..., None]).tolist() == expected
    with pytest.raises(ValueError, match=r"shape \(1797, 8, 8\)\) hold only 0 and 1: are they cla"):
        cb_keras.class_counts(ink)


def test_multi_hot_labels_count_each_of_their_classes():
    names = [[NAMES[a], NAMES[b]] for a, b in DIGITS.reshape(-1, 2)]
    multi_hot = sklearn.preprocessing.MultiLabelBinarizer(classes=NAMES).fit_transform(names)
    expected = [sum(name in pair for pair in names) for name in NAMES]
    assert cb_keras.class_counts(multi_hot, num_classes=10).tolist() == expected
    frame = pd.DataFrame(multi_hot, columns=NAMES)
    assert cb_keras.class_counts(frame).tolist() == expected
    assert cb_keras.class_counts(frame, classes=NAMES[::-1]).tolist() == expected[::-1]
    with pytest.raises(ValueError, match="are they class ids, or multi-hot labels of 10 classes"):
        cb_keras.class_counts(multi_hot)
    with pytest.raises(ValueError, match="multi-hot labels of 2 classes"):
        cb_keras.class_counts(multi_hot[:, :2], num_classes=2)


@pytest.mark.parametrize(
    "labels",
    [
        TEXT,
        np.array(TEXT),
        np.array(TEXT, dtype=object),
        np.array([name.encode() for name in TEXT]),
        np.array(TEXT).reshape(10, 100),
        pd.Series(TEXT),
        pd.Series(TEXT, dtype="string"),
        pd.Categorical(TEXT, categories=sorted(NAMES)),
        pd.Series(pd.Categorical(TEXT)),
    ],
    ids=lambda labels: type(labels).__name__,
)
def test_text_is_counted_in_the_order_of_classes(labels):
    np.testing.assert_array_equal(cb_keras.class_counts(labels, classes=NAMES), COUNTS)
    np.testing.assert_array_equal(
        cb_keras.class_counts(labels, 10, classes=NAMES[::-1]), COUNTS[::-1]
    )


def test_a_categorical_is_counted_in_its_own_order_and_its_unused_categories_are_0():
    order = ["none", *reversed(NAMES)]
    labels = pd.Series(pd.Categorical(TEXT, categories=order))
    expected = labels.value_counts(sort=False)
    assert list(expected.index) == order
    assert cb_keras.class_counts(labels).tolist() == expected.tolist()


def test_numbers_that_are_no_class_ids_are_counted_by_classes():
    counts = cb_keras.class_counts(DIGITS * 10 - 5, classes=range(-5, 95, 10))
    np.testing.assert_array_equal(counts, COUNTS)
    counts = cb_keras.class_counts(DIGITS * 10 - 5, ignore_class=-5, classes=range(5, 95, 10))
    np.testing.assert_array_equal(counts, COUNTS[1:])
    np.testing.assert_array_equal(cb_keras.class_counts(DIGITS, classes=NAMES), COUNTS)


def test_an_ignored_text_is_not_counted():
    counts = cb_keras.class_counts(TEXT, ignore_class="zero", classes=NAMES[1:])
    np.testing.assert_array_equal(counts, COUNTS[1:])


def test_a_class_without_examples_counts_0_and_is_told_where_num_classes_does_not_say_it():
    labels = DIGITS[DIGITS != 4]
    with pytest.warns(UserWarning, match=r"no label is 4, which counts 0: give num_classes=10"):
        counts = cb_keras.class_counts(labels)
    np.testing.assert_array_equal(counts, np.bincount(labels))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counts = cb_keras.class_counts(labels, num_classes=12)
    np.testing.assert_array_equal(counts, np.bincount(labels, minlength=12))


def test_more_labels_than_are_counted_at_once_are_counted_exactly():
    labels = np.resize(DIGITS.astype("uint8"), 2**22 + 1000)
    expected = [(labels == c).sum() for c in range(10)]
    assert cb_keras.class_counts(labels).tolist() == expected


REFUSED = {
    "labels from 1": (DIGITS + 1, {"num_classes": 10}, "is 10, which is not a class: class ids go "
                      r"from 0 to 9; do the labels start at 1\?"),
    "the same without C": (DIGITS + 1, {}, r"the smallest is 1 and the largest 10: do the labels "
                           r"start at 1\? Then count labels - 1. Or give num_classes=11"),
    "out of range": ([[0, 1], [2, 3]], {"num_classes": 3}, r"`labels`\[1, 1\] is 3, which is not"),
    "negative": ([0, 2, -1], {}, r"`labels`\[2\] is -1, which is not a class: .* ignore_class=-1"),
    "void": (masks(), {}, "go up to 255, but only 11 of those 256 classes occur: give ignore_cl"),
    "hashes": ([0, 10**15], {}, "only 2 of those 1000000000000001 classes occur"),
    "not whole": ([0, 1.5], {}, r"`labels`\[1\] is 1.5, which is not a whole number: cast"),
    "soft": ([[0.3, 0.7]], {}, r"`labels`\[0, 0\] is 0.3, .*soft labels: labels.argmax\(-1\)"),
    "NaN": ([0.0, float("nan")], {"num_classes": 2}, r"`labels`\[1\] is nan, .*leave out examples"),
    "infinite": ([0.0, float("inf")], {"num_classes": 2}, r"`labels`\[1\] is inf"),
    "bfloat16": (ops.cast([0, 257], "bfloat16"), {}, "holds 256 as bfloat16, which rounds 257 to"),
    "float16": (np.array([0, 2049], "float16"), {}, "holds 2048 as float16, which rounds 2049 to"),
    "complex": (DIGITS.astype("complex64"), {}, "class ids, one-hot labels or text, got dtype com"),
    "missing": (pd.Series([1, None, 0], dtype="Int64"), {}, r"`labels`\[1\] is nan"),
    "missing text": (["a", None], {"classes": ["a"]}, r"`labels`\[1\] is None, a missing label"),
    "missing NaN": (["a", float("nan")], {"classes": ["a"]}, r"`labels`\[1\] is nan, a missing la"),
    "missing category": (pd.Categorical(["a", None]), {}, r"`labels`\[1\] is nan, a missing label"),
    "masked": (np.ma.masked_equal([0, 1, 9], 9), {}, "masked entries: count labels.compressed()"),
    "text": (TEXT, {}, r"`labels` are text, .*: give classes=\['eight', 'five', .* and so on|nine"),
    "unknown text": (TEXT, {"classes": NAMES[:9]}, r"`labels`\[9\] is 'nine', which is not in `c"),
    "text and numbers": (["a", 1], {}, "must be all class ids or all text, got int and str"),
    "dict": ({"cat": 5}, {}, "is a dict: a mapping of class to count is counted already"),
    "generator": ((i for i in [0, 1]), {}, "is a generator, which has no order or is used up"),
    "set": ({0, 1}, {}, "is a set, which has no order"),
    "ragged": ([[0, 1], [1]], {}, "`labels` has rows of different lengths"),
    "nothing": ([], {"num_classes": 3}, "`labels` holds no labels: there is nothing to count"),
    "only void": ([9, 9], {"ignore_class": 9}, "no labels besides those of `ignore_class`"),
    "one-hot and void": (np.eye(3), {"ignore_class": 255}, "`ignore_class`=255 is for class ids, "),
    "one-hot of another C": (np.eye(3), {"num_classes": 4}, "are one-hot labels of 3 classes, bu"),
    "columns of ids": (pd.DataFrame({"a": [0, 2], "b": [1, 0]}), {}, r"`labels`\[1, 0\] is 2, but a"
                       r" DataFrame of 2 columns .* labels\['a'\]"),
    "other columns": (pd.get_dummies(TEXT), {"classes": ["a"]}, "`classes` must be the columns"),
    "columns and void": (pd.get_dummies(TEXT), {"ignore_class": 1}, "is for class ids"),
    "classes as text": (TEXT, {"classes": "zero"}, "must be a list of the classes' labels"),
    "classes in a set": (TEXT, {"classes": {"zero"}}, "`classes` is a set, which has no order"),
    "a class twice": (TEXT, {"classes": ["a", "b", "a"]}, "`classes` has 'a' twice"),
    "mixed classes": (TEXT, {"classes": ["a", 1]}, "`classes` must be all text or all numbers"),
    "two numbers": (TEXT, {"classes": NAMES, "num_classes": 9}, "`num_classes` is 9, but `class"),
    "void is a class": (TEXT, {"classes": NAMES, "ignore_class": "one"}, "'one' is one of `classe"),
    "void of text": (DIGITS, {"ignore_class": "void"}, "is 'void', but `labels` are numbers"),
    "void of numbers": (TEXT, {"classes": NAMES, "ignore_class": 255}, "is 255, but `labels` are"),
    "no classes": (DIGITS, {"num_classes": 0}, "`num_classes` must be a whole number >= 1, got 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_counted_is_refused_in_words(case):
    labels, arguments, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        cb_keras.class_counts(labels, **arguments)


def test_sparse_and_ragged_tensors_are_refused():
    scipy_sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(ValueError, match=r"`labels` must be dense, got csr_\w+: use .toarray"):
        cb_keras.class_counts(scipy_sparse.csr_matrix(np.eye(3)))
