"""`binary_counts` against numpy's sums, on the labels of scikit-learn's data sets."""

import keras
import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
from keras import ops

import cb_keras

CANCER = sklearn.datasets.load_breast_cancer().target  # 0 or 1
DIGITS = sklearn.datasets.load_digits().target[:1000]
PRESENT = np.eye(10, dtype=int)[DIGITS].reshape(-1, 4, 10).max(axis=1)  # of four digits each
MASKS = (sklearn.datasets.load_digits().images > 8).astype("uint8")


@pytest.mark.parametrize(
    "convert",
    [
        np.asarray,
        list,
        lambda labels: labels[:, None],
        lambda labels: labels.astype(bool),
        lambda labels: labels.astype("float32"),
        ops.convert_to_tensor,
        lambda labels: ops.cast(labels[:, None], "bfloat16"),
        pd.Series,
        lambda labels: pd.DataFrame({"benign": labels}),
    ],
)
def test_one_output_counts_its_negatives_and_positives(convert):
    counts = cb_keras.binary_counts(convert(CANCER))
    assert counts.dtype == np.int64
    assert counts.tolist() == [(CANCER == 0).sum(), (CANCER == 1).sum()] == [212, 357]


@pytest.mark.parametrize(
    "convert",
    [
        np.asarray,
        lambda labels: labels.tolist(),
        ops.convert_to_tensor,
        lambda labels: pd.DataFrame(labels.astype(bool)),
    ],
)
@pytest.mark.parametrize("num_labels", [None, 10])
def test_many_labels_count_both_sides_of_each(convert, num_labels):
    counts = cb_keras.binary_counts(convert(PRESENT), num_labels)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, np.stack([(1 - PRESENT).sum(0), PRESENT.sum(0)], axis=1))


def test_masks_are_of_one_output_or_of_a_label_per_column_as_num_labels_says():
    expected = [(MASKS == 0).sum(), MASKS.sum()]
    assert cb_keras.binary_counts(MASKS, num_labels=1).tolist() == expected
    assert cb_keras.binary_counts(MASKS[..., None]).tolist() == expected
    assert cb_keras.binary_counts(MASKS, num_labels=8)[:, 1].tolist() == MASKS.sum((0, 1)).tolist()
    with pytest.raises(ValueError, match=r"shape \(1797, 8, 8\): give num_labels=1 for masks"):
        cb_keras.binary_counts(MASKS)


def test_ignored_entries_count_on_neither_side():
    known = np.random.default_rng(0).random(PRESENT.shape) < 0.7
    counts = cb_keras.binary_counts(np.where(known, PRESENT, -1), ignore_class=-1)
    expected = [((1 - PRESENT) * known).sum(0), (PRESENT * known).sum(0)]
    np.testing.assert_array_equal(counts, np.stack(expected, axis=1))


class Batches(keras.utils.PyDataset):
    """Batches of 64 of labels, the last one smaller."""

    def __init__(self, labels):
        super().__init__()
        self._labels = labels

    def __len__(self):
        return -(-len(self._labels) // 64)

    def __getitem__(self, index):
        labels = self._labels[index * 64 : (index + 1) * 64]
        return np.zeros((len(labels), 3)), labels


@pytest.mark.parametrize("labels", [CANCER, CANCER[:, None], PRESENT], ids=lambda x: str(x.shape))
def test_a_data_set_counts_as_its_array(labels):
    expected = cb_keras.binary_counts(labels)
    np.testing.assert_array_equal(cb_keras.binary_counts(Batches(labels)), expected)


@pytest.mark.parametrize(
    ("labels", "arguments", "message"),
    [
        (CANCER * 2 - 1, {}, r"`labels`\[0\] is -1, but labels must be 0 or 1; labels of -1 and 1"),
        (Batches(np.r_[CANCER, 2]), {}, r"`labels`\[57\] of batch 8 is 2, but labels must be 0 or"),
        ([[0, 1], [0.3, 1]], {}, r"`labels`\[1, 0\] is 0.3, .*: round|round soft labels"),
        ([0.0, float("nan")], {}, r"`labels`\[1\] is nan, .*leave out entries without a label"),
        ([0, None], {}, r"`labels`\[1\] is None, a missing label"),
        (["yes", "no"], {}, r"`labels`\[0\] is 'yes', which is text"),
        ([], {}, "there is nothing to count"),
        ([7, 7], {"ignore_class": 7}, "there is nothing to count"),
        (CANCER, {"ignore_class": 1}, "`ignore_class` must be neither 0 nor 1, got 1"),
        (PRESENT, {"num_labels": 9}, r"has 10 labels an example, but `num_labels` is 9"),
        (PRESENT, {"num_labels": 0}, "`num_labels` must be a whole number >= 1, got 0"),
    ],
)
def test_what_is_not_0_or_1_is_refused_with_position_and_value(labels, arguments, message):
    with pytest.raises(ValueError, match=message):
        cb_keras.binary_counts(labels, **arguments)
