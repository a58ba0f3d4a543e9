"""`class_counts` of data sets: each counts as the array of the labels of one epoch does."""

import io
import sys

import keras
import numpy as np
import pytest
import sklearn.datasets

import cb_keras
from cb_keras.counting import streams
from tests.cb_keras.gradients import BACKEND

DATA = sklearn.datasets.load_digits()
IMAGES = DATA.images[:200].astype("float32")
DIGITS = DATA.target[:200]
ONE_HOT = np.eye(10, dtype="float32")[DIGITS]
MASKS = np.where(IMAGES > 8, DIGITS[:, None, None], 255)
COUNTS = np.bincount(DIGITS)
WEIGHTS = np.full(200, 0.5, "float32")
SOUNDS = IMAGES[:, :2]  # as many channels as classes
WORDS = np.array([["a word"] * 10] * 200)
TWO = np.eye(2, dtype="float32")[DIGITS % 2]
# Importing TensorFlow or PyTorch takes long where Keras does not do it.
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.data")
on_torch = pytest.mark.skipif(BACKEND != "torch", reason="DataLoader")


class Batches(keras.utils.PyDataset):
    """Batches of 32 as `element` makes them; the last one is smaller."""

    def __init__(self, element, end=200):
        super().__init__()
        self._element, self._end = element, end

    def __len__(self):
        return -(-self._end // 32)

    def __getitem__(self, index):
        return self._element(slice(index * 32, min((index + 1) * 32, self._end)))


class Endless(keras.utils.PyDataset):
    num_batches = None

    def __getitem__(self, index):
        raise AssertionError("nothing of it is to be read")


ELEMENTS = {
    "(x, y)": lambda at: (IMAGES[at], DIGITS[at]),
    "(x, y, w)": lambda at: (IMAGES[at], DIGITS[at], WEIGHTS[at]),
    "one-hot": lambda at: (IMAGES[at], ONE_HOT[at]),
    "columns": lambda at: (IMAGES[at], DIGITS[at][:, None]),
    "inputs by name": lambda at: ({"a": IMAGES[at], "b": IMAGES[at]}, DIGITS[at]),
    "one output by name": lambda at: (IMAGES[at], {"digit": DIGITS[at]}),
    "a dict": lambda at: {"image": IMAGES[at], "label": DIGITS[at]},
    "labels alone": lambda at: DIGITS[at],
}


@pytest.mark.parametrize("kind", ELEMENTS)
def test_a_py_dataset_counts_as_its_labels(kind):
    np.testing.assert_array_equal(cb_keras.class_counts(Batches(ELEMENTS[kind])), COUNTS)


def test_masks_and_text_in_batches_count_as_the_whole():
    def masks(at):
        return IMAGES[at], MASKS[at]

    counts = cb_keras.class_counts(Batches(masks), 10, ignore_class=255)
    np.testing.assert_array_equal(counts, np.bincount(MASKS[MASKS != 255], minlength=10))
    names = np.array(list("abcdefghij"))

    def text(at):
        return IMAGES[at], names[DIGITS[at]]

    np.testing.assert_array_equal(cb_keras.class_counts(Batches(text), classes=names), COUNTS)


def test_what_labels_are_is_decided_by_all_batches_together():
    ids = np.zeros((64, 3), int)
    ids[:32] = np.eye(3, dtype=int)[np.arange(32) % 3]  # one-hot as far as the first batch goes
    ids[40] = [0, 1, 2]

    def element(at):
        return ids[at], ids[at]

    expected = np.bincount(ids.reshape(-1))
    np.testing.assert_array_equal(cb_keras.class_counts(Batches(element, 64)), expected)
    assert cb_keras.class_counts(Batches(element, 32)).tolist() == [11, 11, 10]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Batches(lambda at: (IMAGES[at],)), r"have 1 parts, must be \(x, y\) or \(x, y, w\)"),
        (Batches(lambda at: (IMAGES[at], None)), r"are \(x, None\): there are no labels"),
        (
            Batches(lambda at: (IMAGES[at], {"a": DIGITS[at], "b": DIGITS[at]})),
            r"several outputs \(a, b\): count each by itself",
        ),
        (
            Batches(lambda at: (IMAGES[at], [DIGITS[at], DIGITS[at]])),
            r"several outputs \(0, 1\): count each by itself",
        ),
        (
            Batches(lambda at: {"image": IMAGES[at], "class": DIGITS[at]}),
            r"dicts with the keys \['class', 'image'\], of which one must be label, labels, y, ta",
        ),
        (
            Batches(lambda at: (IMAGES[at], np.where(np.arange(200)[at] == 70, 10, DIGITS[at]))),
            r"`labels`\[6\] of batch 2 is 10, which is not a class",
        ),
        (Endless(), "is an endless Endless: counting would never end"),
    ],
)
def test_what_can_not_be_counted_is_refused_in_words(data, message):
    with pytest.raises(ValueError, match=message):
        cb_keras.class_counts(data, num_classes=10)


@pytest.mark.parametrize(
    ("terminal", "line", "end"), [(True, "\r{}\x1b[K", "\r\x1b[K"), (False, "{}\n", "")]
)
def test_what_takes_long_says_how_far_it_is(terminal, line, end, monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(streams._with_progress("ab", 2, seconds=0)) == [(0, "a"), (1, "b")]
    lines = [line.format(f"counting labels: {i} of 2 batches") for i in (1, 2)]
    assert stream.getvalue() == "".join(lines) + end


def test_what_takes_no_time_says_nothing(capfd):
    cb_keras.class_counts(Batches(ELEMENTS["(x, y)"]))
    assert "counting" not in capfd.readouterr().err


def dataset(kind):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(ELEMENTS[kind](slice(None)))


@on_tensorflow
@pytest.mark.parametrize("batch", [None, 32])
@pytest.mark.parametrize("kind", sorted(set(ELEMENTS) - {"columns"}))
def test_a_tf_data_set_counts_as_its_labels(kind, batch):
    data = dataset(kind)
    data = data if batch is None else data.batch(batch)
    np.testing.assert_array_equal(cb_keras.class_counts(data), COUNTS)


@on_tensorflow
def test_multi_hot_labels_without_batches_are_told_from_the_class_ids_of_a_batch():
    import tensorflow as tf

    two = np.maximum(ONE_HOT[:100], ONE_HOT[100:])
    data = tf.data.Dataset.from_tensor_slices((IMAGES[:100], two))
    assert cb_keras.class_counts(data, 10).tolist() == two.sum(0).tolist()
    assert cb_keras.binary_counts(data)[:, 1].tolist() == two.sum(0).tolist()
    ids = tf.data.Dataset.from_tensor_slices((IMAGES, DIGITS % 2)).batch(10, drop_remainder=True)
    assert cb_keras.class_counts(ids).tolist() == np.bincount(DIGITS % 2).tolist()


@on_tensorflow
def test_labels_of_a_batch_or_of_an_example_that_look_alike_are_refused():
    import tensorflow as tf

    # x has 10 features, or the two channels of a sound, or any number of rows.
    ragged = tf.data.Dataset.from_tensor_slices((IMAGES, ONE_HOT))
    for data, classes in (
        (tf.data.Dataset.from_tensor_slices((ONE_HOT, ONE_HOT)), 10),
        (tf.data.Dataset.from_tensor_slices((SOUNDS, TWO)), 2),
        (ragged.map(lambda x, y: (tf.ensure_shape(x[: tf.argmax(y)], [None, 8]), y)), 10),
        (tf.data.Dataset.from_tensor_slices((WORDS, ONE_HOT)), 10),  # an example has 10 texts
        (tf.data.Dataset.from_tensor_slices(ONE_HOT), 10),
    ):
        with pytest.raises(ValueError, match=rf"shape \({classes},\), all in \[0, 1\], .* one-hot"):
            cb_keras.class_counts(data, classes)
        with pytest.raises(ValueError, match=r"all in \[0, 1\]"):
            cb_keras.binary_counts(data)
    np.testing.assert_array_equal(cb_keras.class_counts(data.batch(32)), COUNTS)


@on_tensorflow
def test_batches_of_fixed_size_are_class_ids_wherever_that_can_be_known():
    import tensorflow as tf

    fixed = tf.data.Dataset.from_tensor_slices((SOUNDS, TWO[:, 1])).batch(2, drop_remainder=True)
    found = cb_keras.class_counts(fixed.map(lambda x, y: (2 * x, y)).prefetch(2))
    np.testing.assert_array_equal(found, TWO.sum(0))
    np.testing.assert_array_equal(cb_keras.class_counts(fixed.unbatch()), TWO.sum(0))
    # Made by others; it begins with the classes 0 and 1, and 4 of the 2 rows is no one-hot label's.
    ordered = np.sort(DIGITS)[:, None].repeat(2, 1)
    made = tf.data.Dataset.from_tensor_slices((SOUNDS, ordered))
    np.testing.assert_array_equal(cb_keras.class_counts(made), 2 * COUNTS)
    words = tf.data.Dataset.from_tensor_slices((SOUNDS, np.array(["cat", "dog"])[ordered % 2]))
    assert (
        cb_keras.class_counts(words, classes=["cat", "dog"]).tolist() == (2 * TWO.sum(0)).tolist()
    )


@on_tensorflow
def test_an_endless_one_is_refused_and_an_epoch_of_it_is_not():
    data = dataset("(x, y)").batch(20)
    with pytest.raises(ValueError, match=r"endless data set: .* before .repeat\(\), or .take"):
        cb_keras.class_counts(data.repeat())
    np.testing.assert_array_equal(cb_keras.class_counts(data.repeat().take(10)), COUNTS)


@on_tensorflow
def test_a_tf_data_set_that_does_not_know_its_length_is_counted():
    data = dataset("(x, y)").filter(lambda x, y: y != 3)
    assert cb_keras.class_counts(data, 10).tolist() == [*COUNTS[:3], 0, *COUNTS[4:]]


@on_tensorflow
def test_a_wrong_label_is_named_by_its_position():
    import tensorflow as tf

    ids = np.where(np.arange(3000) == 2500, 9, 0)
    data = tf.data.Dataset.from_tensor_slices((ids, ids))
    with pytest.raises(ValueError, match=r"`labels`\[2500\] is 9, which is not a class"):
        cb_keras.class_counts(data, 2)


@on_torch
@pytest.mark.parametrize("labels", [DIGITS, ONE_HOT], ids=["ids", "one-hot"])
@pytest.mark.parametrize("batch_size", [None, 32])
def test_a_data_loader_counts_as_its_labels(labels, batch_size):
    import torch

    data = torch.utils.data.TensorDataset(*map(torch.from_numpy, (IMAGES, labels, WEIGHTS)))
    loader = torch.utils.data.DataLoader(data, batch_size, shuffle=True)
    np.testing.assert_array_equal(cb_keras.class_counts(loader), COUNTS)


@on_torch
def test_a_loader_of_examples_whose_labels_may_be_a_batchs_is_refused_and_one_of_batches_counted():
    import torch

    def loader(*arrays):
        data = torch.utils.data.TensorDataset(*map(torch.from_numpy, arrays))
        return torch.utils.data.DataLoader(data, None)

    with pytest.raises(ValueError, match=r"shape \(2,\), all in \[0, 1\], .* one-hot label"):
        cb_keras.class_counts(loader(SOUNDS, TWO.astype("int64")))
    with pytest.raises(ValueError, match=r"`labels`\[1\] of element 1 is -1"):
        cb_keras.class_counts(loader(SOUNDS, np.where(np.arange(200)[:, None] == 1, [0, -1], TWO)))
    batches = loader(IMAGES.reshape(20, 10, 8, 8), np.sort(DIGITS).reshape(20, 10))
    np.testing.assert_array_equal(cb_keras.class_counts(batches), COUNTS)
    one = list(zip(IMAGES, ONE_HOT, strict=True))
    lengths = [(np.concatenate([x, x[:2]]) if i == 1 else x, y) for i, (x, y) in enumerate(one)]
    told = torch.utils.data.DataLoader(lengths, None)  # of the second, which has 10 rows as well
    np.testing.assert_array_equal(cb_keras.class_counts(told), COUNTS)


@on_torch
def test_a_data_loader_that_does_not_know_its_length_is_counted():
    import torch

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return zip(IMAGES, DIGITS, strict=True)

    loader = torch.utils.data.DataLoader(Stream(), batch_size=32)
    np.testing.assert_array_equal(cb_keras.class_counts(loader), COUNTS)
    with pytest.raises(ValueError, match="is a Stream of PyTorch: give the DataLoader that rea"):
        cb_keras.class_counts(Stream())


@on_tensorflow
def test_autograph_which_would_warn_is_not_asked_to_transform_the_reading(monkeypatch):
    import tensorflow as tf

    status, split = [], streams.split

    def recorded(element):
        status.append(tf.__internal__.autograph.control_status_ctx().status.name)
        return split(element)

    monkeypatch.setattr(streams, "split", recorded)
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, DIGITS)).batch(32)
    np.testing.assert_array_equal(cb_keras.class_counts(dataset), COUNTS)
    assert status[-1] == "DISABLED"
