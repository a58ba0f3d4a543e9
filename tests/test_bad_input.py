"""What the library does with bad input, and that the table in the docs is true to the tests."""

import pathlib
import re

import keras
import numpy as np
import pytest
import sklearn.metrics

import cb_keras
from cb_keras import losses
from tests.cb_keras import reference
from tests.cb_keras.cases import CLASSES, LOSSES, kinds

ROOT = pathlib.Path(__file__).parents[1]
COUNTS = [50, 20, 10, 5]
IDS = np.array([0, 1, 2, 3, 1, 0])
LOGITS = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")


def class_weights(counts, beta=0.9999):
    """Cui et al. 2019, equations 2 and 4, in plain numpy."""
    raw = (1 - beta) / (1 - beta ** np.array(counts, "float64"))
    return len(counts) * raw / raw.sum()


# Labels


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        (np.array(["cat", "dog", "cat", "eel", "dog", "cat"]), "<U3"),
        (np.array([b"cat", b"dog"] * 3), "S3"),
        (IDS.astype("complex64"), "complex64"),
        (np.array([0, 1, 2, None, 1, 0]), "object"),
        (["cat", "dog", "cat", "eel", "dog", "cat"], "string"),
    ],
)
@kinds
def test_labels_that_are_not_numbers_are_refused_with_their_dtype(kind, labels, dtype):
    message = rf"`y_true` must be class ids or one-hot labels, got dtype \S?{dtype}; number the"
    message += (
        r" classes first, in the order of .*: \[names\.index\(label\) for label in labels\], "
    )
    metric = cb_keras.metrics.BalancedAccuracy(4)
    for call in (CLASSES[kind](COUNTS), LOSSES[kind], metric.update_state):
        with pytest.raises(ValueError, match=message):
            call(labels, LOGITS)


@kinds
def test_predictions_that_are_not_numbers_are_refused_with_their_dtype(kind):
    with pytest.raises(
        ValueError, match=r"`y_pred` must be real numbers \[\.\.\., C\], got dtype "
    ):
        CLASSES[kind](COUNTS)(IDS, LOGITS.astype("complex64"))


def test_balanced_accuracy_leaves_out_examples_that_are_in_no_class():
    labels = np.array([0, 1, 2, 3, -1, 4])
    metric = cb_keras.metrics.BalancedAccuracy(4)
    metric.update_state(labels, LOGITS)
    expected = sklearn.metrics.balanced_accuracy_score(labels[:4], LOGITS[:4].argmax(1))
    assert float(metric.result()) == pytest.approx(expected)


@pytest.mark.parametrize("width", [3, 5])
def test_balanced_accuracy_refuses_labels_of_another_width(width):
    with pytest.raises(ValueError, match=rf"`y_true` has shape \(6, {width}\)"):
        cb_keras.metrics.BalancedAccuracy(4).update_state(np.zeros((6, width)), LOGITS)


CHANNELS_FIRST = np.zeros((2, 5, 4, 3), "float32")  # [N, C, H, W], as PyTorch's own losses take it
OF_PIXELS = np.zeros((2, 4, 3), "int32")


@pytest.mark.parametrize(
    ("call", "axis"),
    [
        (lambda: losses.ClassBalancedSoftmaxCrossentropy([9] * 5)(OF_PIXELS, CHANNELS_FIRST), 1),
        (lambda: losses.LDAMCrossentropy([9] * 5)(OF_PIXELS[0], CHANNELS_FIRST[0]), 0),
        (lambda: LOSSES["softmax"](OF_PIXELS, CHANNELS_FIRST), 1),
        (
            lambda: cb_keras.metrics.BalancedAccuracy(5).update_state(OF_PIXELS, CHANNELS_FIRST),
            1,
        ),
        (
            lambda: losses.ClassBalancedBinaryCrossentropy([[9, 1]] * 5)(
                CHANNELS_FIRST, CHANNELS_FIRST
            ),
            1,
        ),
    ],
)
def test_predictions_whose_classes_are_not_last_are_told_how_to_move_them(call, axis):
    message = rf"Axis {axis} has 5 entries.*moveaxis\(y_pred, {axis}, -1\).*movedim\({axis}, -1\)"
    with pytest.raises(ValueError, match=message):
        call()


def test_nothing_is_said_of_moving_where_no_axis_has_the_size_of_the_classes():
    for shape in ((2, 4, 3), (5, 3)):  # of two axes the first is that of the examples
        with pytest.raises(ValueError, match=r"`y_pred` has 3 classes") as error:
            losses.ClassBalancedSoftmaxCrossentropy([9] * 5)(
                np.zeros(shape[:-1], "int32"), np.zeros(shape, "float32")
            )
        assert "moveaxis" not in str(error.value)


# Counts


def linear(outputs, loss, **arguments):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(outputs)])
    model.compile(keras.optimizers.SGD(0.0), loss, **arguments)
    return model


@pytest.mark.parametrize("labels", ["sparse", "one-hot"])
@kinds
def test_five_counts_for_ten_outputs_are_refused_with_both_numbers(kind, labels):
    loss, ids = CLASSES[kind]([9, 7, 5, 3, 1]), np.arange(6)
    y = ids if labels == "sparse" else np.eye(10)[ids]
    message = r"`y_pred` has 10 classes \(shape .*\) but there are 5 class counts or weights: give"
    with pytest.raises(ValueError, match=message):
        loss(y, np.zeros((6, 10), "float32"))
    model = linear(10, loss)
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        model.fit(np.ones((6, 3)), y, verbose=0)
    for value, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_balanced_accuracy_of_five_classes_for_ten_outputs_is_refused_with_both_numbers():
    metric = cb_keras.metrics.BalancedAccuracy(5)
    message = r"`y_pred` has 10 classes .* but `num_classes` is 5: give .* the model's outputs"
    with pytest.raises(ValueError, match=message):
        metric.update_state(np.arange(5), np.zeros((5, 10)))
    assert np.asarray(metric.total).sum() == 0


@pytest.mark.parametrize("number", [0, 1, -1, 2.5, float("nan")])
def test_balanced_accuracy_refuses_a_number_of_classes_that_is_none(number):
    with pytest.raises(
        ValueError, match=f"`num_classes` must be a whole number >= 2, got {number}"
    ):
        cb_keras.metrics.BalancedAccuracy(number)


@kinds
def test_a_class_of_count_zero_is_refused_by_its_number(kind):
    with pytest.raises(ValueError, match=r"class 2 has 0\. .*drop it, or give it at least one"):
        CLASSES[kind]([50, 20, 0, 5])


def test_choosing_no_example_of_a_class_leaves_it_out_and_keeps_the_others():
    labels = np.repeat([0, 1, 2], 10)
    chosen = cb_keras.choose_long_tail(labels, [10, 0, 4])
    assert np.bincount(labels[chosen], minlength=3).tolist() == [10, 0, 4]


# Values


@kinds
def test_a_nan_image_makes_the_loss_of_its_own_example_nan_alone(kind):
    logits = LOGITS.copy()
    logits[2] = np.nan  # what a network makes of NaN pixels
    loss = CLASSES[kind](COUNTS, reduction=None)
    found = keras.ops.convert_to_numpy(loss(IDS, logits))
    targets = reference.one_hot(IDS, 4)
    expected = reference.loss(kind, LOGITS, targets, class_weights(COUNTS)[IDS])
    expected[2] = np.nan
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@kinds
def test_a_nan_image_makes_the_loss_of_fit_nan_from_its_batch_on_and_keras_can_stop_there(kind):
    images = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")
    images[7, 1] = np.nan  # in the fourth batch of two
    losses = []
    seen = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: losses.append(float(logs["loss"]))
    )
    model = linear(4, CLASSES[kind](COUNTS))
    callbacks = [keras.callbacks.TerminateOnNaN(), seen]
    model.fit(images, np.tile(IDS, 2), batch_size=2, shuffle=False, verbose=0, callbacks=callbacks)
    assert np.isfinite(losses).tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("kind", "batch_size"),
    [("softmax", 1), ("softmax", 4), ("sigmoid", 5), ("focal", 6), ("sigmoid", 7), ("focal", 100)],
)
def test_a_partial_or_too_large_batch_counts_by_its_examples_in_fit_and_evaluate(kind, batch_size):
    images = np.random.default_rng(1).normal(size=(6, 3)).astype("float32")
    model = linear(4, CLASSES[kind](COUNTS), metrics=["accuracy"])
    weights, bias = (w.astype("float64") for w in model.get_weights())
    logits = images @ weights + bias
    losses = reference.loss(
        kind, logits, reference.one_hot(IDS, 4), class_weights(COUNTS)[IDS], gamma=1.0
    )
    expected = {"loss": losses.mean(), "accuracy": (logits.argmax(1) == IDS).mean()}
    history = model.fit(images, IDS, batch_size=batch_size, verbose=0).history
    evaluated = model.evaluate(images, IDS, batch_size=batch_size, verbose=0, return_dict=True)
    for name, value in expected.items():
        assert history[name] == pytest.approx([value], rel=1e-5)
        assert evaluated[name] == pytest.approx(value, rel=1e-5)


# The table


def rows():
    lines = (ROOT / "docs" / "bad_input.md").read_text().splitlines()
    cells = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in cells if row and row[0] != "input" and set(row[0]) != {"-"}]


def named_tests(cell):
    """(file, function) of every test that a cell names; `::test_x` goes on with the last file."""
    file = None
    for path, name in re.findall(r"`([\w/.]*)::(\w+)`", cell):
        file = path or file
        yield file, name


def functions(file):
    return re.findall(r"^def (test_\w+)\(", (ROOT / "tests" / file).read_text(), re.MULTILINE)


def test_every_row_of_the_table_says_what_happens_and_names_tests_that_exist():
    assert len(rows()) > 30
    for row in rows():
        assert len(row) == 3, row
        assert all(row), row
        tests = list(named_tests(row[2]))
        assert tests, row
        for file, name in tests:
            assert name in functions(file), f"{file}::{name}"


def test_every_test_of_bad_input_is_in_the_table():
    named = {test for row in rows() for test in named_tests(row[2])}
    tests = ROOT / "tests"
    for path in tests.rglob("test_bad_input*.py"):
        file = path.relative_to(tests).as_posix()
        for name in functions(file):
            if "table" not in name:
                assert (file, name) in named, f"{file}::{name} is missing in docs/bad_input.md"
