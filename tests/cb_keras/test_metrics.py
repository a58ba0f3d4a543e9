"""Accuracy figures against scikit-learn, and shot groups at their thresholds by hand."""

import json
import re

import keras
import numpy as np
import pytest
import sklearn.metrics
from keras import ops

from cb_keras.metrics import (
    BalancedAccuracy,
    classification_report,
    confusion_matrix,
    per_class_accuracy,
    recall_report,
    shot_groups,
)
from tests.cb_keras.gradients import BACKEND

LABELS = np.random.default_rng(1).integers(0, 4, 60)  # class 4 has no test examples
LOGITS = np.random.default_rng(2).normal(size=(60, 5)) + np.eye(5)[LABELS]
PREDICTIONS = LOGITS.argmax(-1)
# scikit-learn warns of predictions of a class without labels, which is the case to be tested.
absent_class = pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")


def balanced_accuracy(labels=LABELS, predictions=PREDICTIONS, weight=None):
    return sklearn.metrics.balanced_accuracy_score(labels, predictions, sample_weight=weight)


def result(metric):
    return ops.convert_to_numpy(metric.result()).item()


def test_confusion_matrix_is_that_of_scikit_learn():
    expected = sklearn.metrics.confusion_matrix(LABELS, PREDICTIONS, labels=range(5))
    confusion = confusion_matrix(LABELS, PREDICTIONS, 5)
    np.testing.assert_array_equal(confusion, expected)
    assert confusion.dtype == np.int64


def test_rows_are_labels_and_columns_predictions():
    confusion = confusion_matrix([0, 0, 1, 2], [0, 2, 1, 1], 3)
    assert confusion.tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 0]]


def test_ids_of_a_narrow_type_are_not_wrapped():
    last = np.array([199], "uint8")
    assert confusion_matrix(last, last, 200)[199, 199] == 1


@pytest.mark.parametrize(
    ("labels", "predictions", "shapes"),
    [([0, 1], [0], r"\(2,\).*\(1,\)"), ([[0, 1]], [[0, 1]], r"\(1, 2\).*\(1, 2\)")],
)
def test_shapes_that_do_not_fit_are_refused(labels, predictions, shapes):
    with pytest.raises(ValueError, match=rf"`labels` {shapes} must both be \[N\]\."):
        confusion_matrix(labels, predictions, 2)


@pytest.mark.parametrize("bad", [-1, 3])
@pytest.mark.parametrize("name", ["labels", "predictions"])
def test_an_id_out_of_range_is_refused_with_its_value(name, bad):
    ids = {"labels": [1, 1], "predictions": [1, 1], name: [bad, bad]}
    with pytest.raises(ValueError, match=rf"`{name}` must be in \[0, 3\), found {bad} to {bad}\."):
        confusion_matrix(**ids, num_classes=3)


def test_recall_per_class_by_hand_is_nan_without_examples():
    recall = per_class_accuracy([[3, 1, 0], [0, 0, 0], [2, 0, 0]])
    np.testing.assert_array_equal(recall, [0.75, np.nan, 0.0])


@pytest.mark.parametrize(
    ("counts", "groups", "rule"),
    [
        ([101, 100, 20, 19], ([0], [1, 2], [3]), "thresholds"),
        ([19, 500, 60], ([1], [2], [0]), "thresholds"),
        ([19, 19], ([], [], [0, 1]), "thresholds"),
        ([101, 101], ([0, 1], [], []), "thresholds"),
        ([100, 100], ([], [0, 1], []), "thresholds"),
        ([20, 20], ([], [0, 1], []), "thresholds"),
        ([101, 100, 20], ([0], [1], [2]), "thirds"),
        ([20, 21, 22, 23], ([2, 3], [1], [0]), "thirds"),
        ([500, 400, 300, 200, 100], ([0, 1], [2, 3], [4]), "thirds"),
        ([100, 500, 100, 500, 300, 300], ([1, 3], [4, 5], [0, 2]), "thirds"),
        (range(1000, 0, -100), ([0, 1, 2, 3], [4, 5, 6], [7, 8, 9]), "thirds"),
        (
            [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100],
            ([0, 1, 2, 3], [4, 5, 6], [7, 8, 9]),
            "thirds",
        ),
        # Cuts after ranks 4 and 7 both move to 5, the only change of count.
        ([5000] * 5 + [50] * 5, ([0, 1, 2, 3, 4], [], [5, 6, 7, 8, 9]), "moved_thirds"),
        ([492, 284315], ([1], [], [0]), "moved_thirds"),
        ([50, 30, 30], ([0], [], [1, 2]), "moved_thirds"),
        ([50, 50, 30], ([0, 1], [], [2]), "moved_thirds"),
        # After ranks 2 and 3: changes at 1 and 3 are as near to 2, and the first cut takes 1.
        ([50, 40, 40, 30], ([0], [1, 2], [3]), "moved_thirds"),
        # After ranks 3 and 6: changes at 5 and 7 are as near to 6, and the second cut takes 7.
        ([90, 80, 70, 60, 60, 50, 50, 40, 30], ([0, 1, 2], [3, 4, 5, 6], [7, 8]), "moved_thirds"),
    ],
)
def test_shot_groups_follow_the_thresholds_or_thirds_where_they_would_leave_no_tail(
    counts, groups, rule
):
    named = dict(zip(("many", "medium", "few"), groups, strict=True))
    assert shot_groups(counts) == (named, rule)


def test_classes_of_one_size_are_in_one_group_and_many_and_few_are_never_empty(rng):
    for size in rng.integers(2, 12, 200):
        counts = rng.integers(20, 20 + rng.integers(2, 12), size)
        groups, _ = shot_groups(counts)
        assert sorted(c for ids in groups.values() for c in ids) == list(range(size))
        if counts.min() < counts.max():
            sizes = [set(counts[groups[name]].tolist()) for name in ("many", "medium", "few")]
            assert not sizes[0] & sizes[1] | sizes[1] & sizes[2] | sizes[0] & sizes[2]
            assert sizes[0]
            assert sizes[2]
            assert min(sizes[0]) > max(sizes[2])


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        *(
            ([], r"a list .* \(0,\)"),
            (5, r"a list .*shape \(\): 5"),
            (["3", "2"], "numbers, .*<U1"),
        ),
        ([3.5, 2], r"whole numbers >= 0, but class 0 has 3\.5\.$"),
        ([1, -1], r"whole numbers >= 0, but class 1 has -1\.$"),
        ([float("nan"), 3], r"whole numbers >= 0, but class 0 has nan\.$"),
    ],
)
def test_shot_groups_refuse_what_is_not_a_list_of_counts(counts, message):
    with pytest.raises(ValueError, match=f"`class_counts` must be {message}"):
        shot_groups(counts)


@absent_class
def test_report_gives_the_figures_of_scikit_learn():
    counts = [300, 200, 90, 50, 5]
    report = classification_report(confusion_matrix(LABELS, PREDICTIONS, 5), counts)
    recall = sklearn.metrics.recall_score(LABELS, PREDICTIONS, labels=range(4), average=None)
    accuracy = sklearn.metrics.accuracy_score(LABELS, PREDICTIONS)
    assert report["accuracy"] == pytest.approx(accuracy)
    assert report["balanced_accuracy"] == pytest.approx(balanced_accuracy())
    assert report["per_class_accuracy"][:4] == pytest.approx(recall.tolist())
    assert report["many_accuracy"] == pytest.approx(recall[:2].mean())
    assert report["medium_accuracy"] == pytest.approx(recall[2:].mean())


def test_a_class_or_group_without_test_examples_is_none_and_the_report_is_json():
    report = classification_report(np.array([[3, 1, 0], [1, 1, 0], [0, 0, 0]]), [300, 50, 5])
    assert json.loads(json.dumps(report)) == {
        "accuracy": 4 / 6,
        "balanced_accuracy": 0.625,
        "per_class_accuracy": [0.75, 0.5, None],
        "many_accuracy": 0.75,
        "medium_accuracy": 0.5,
        "few_accuracy": None,
        "confusion_matrix": [[3, 1, 0], [1, 1, 0], [0, 0, 0]],
    }


def test_a_class_without_test_examples_does_not_lower_the_mean_of_its_group():
    report = classification_report([[1, 1, 0], [0, 0, 0], [0, 0, 4]], [300, 200, 5])
    assert report["many_accuracy"] == 0.5
    assert report["medium_accuracy"] is None
    assert report["few_accuracy"] == 1.0


@pytest.mark.parametrize("shape", [(3, 3), (2, 3), (4,)])
def test_a_confusion_matrix_of_another_size_is_refused_with_both_sizes(shape):
    message = f"`confusion` has shape {shape}, but `class_counts` has 2 classes: expected (2, 2)."
    with pytest.raises(ValueError, match=re.escape(message)):
        classification_report(np.ones(shape, int), [3, 2])


def test_the_report_without_a_matrix_is_that_of_the_matrix():
    counts = [300, 200, 60, 20, 5]
    confusion = confusion_matrix(LABELS, PREDICTIONS, 5)
    whole = classification_report(confusion, counts)
    report = recall_report(np.diag(confusion), confusion.sum(axis=1), counts)
    assert {**report, "confusion_matrix": confusion.tolist()} == whole
    with pytest.raises(ValueError, match=r"`examples` has shape \(4,\), but `class_counts` has 5"):
        recall_report([1] * 5, [1] * 4, counts)
    with pytest.raises(ValueError, match="`examples` are none at all"):
        recall_report([0] * 5, [0] * 5, counts)


def test_a_confusion_matrix_without_examples_is_refused():
    with pytest.raises(ValueError, match="`confusion` holds no examples"):
        classification_report(np.zeros((2, 2), int), [3, 2])


@absent_class
@pytest.mark.parametrize("batch", [7, 60] if BACKEND == "jax" else [1, 7, 60])
def test_balanced_accuracy_over_batches_is_that_of_scikit_learn(batch):
    metric = BalancedAccuracy(5)
    for start in range(0, 60, batch):
        metric.update_state(LABELS[start : start + batch], LOGITS[start : start + batch])
    assert result(metric) == pytest.approx(balanced_accuracy(), rel=1e-6)


@absent_class
@pytest.mark.parametrize("without", [None, 2])
def test_sample_weights_count_as_in_scikit_learn(without, rng):
    weight = rng.uniform(0.1, 3, 60) * (without != LABELS)
    metric = BalancedAccuracy(5)
    metric.update_state(LABELS[:40], LOGITS[:40], weight[:40])
    metric.update_state(LABELS[40:], LOGITS[40:], weight[40:])
    keep = weight > 0  # a class whose weights are all 0 has not been seen
    expected = balanced_accuracy(LABELS[keep], PREDICTIONS[keep], weight[keep])
    assert result(metric) == pytest.approx(expected, rel=1e-6)


@absent_class
@pytest.mark.parametrize(
    "labels",
    [LABELS.astype("uint8"), LABELS.astype("float32"), LABELS[:, None], np.eye(5)[LABELS]],
    ids=["uint8", "float32", "column", "one-hot"],
)
def test_labels_of_every_format_give_the_same(labels):
    metric = BalancedAccuracy(5)
    metric.update_state(labels, LOGITS)
    assert result(metric) == pytest.approx(balanced_accuracy(), rel=1e-6)


@absent_class
@pytest.mark.parametrize("one_hot", [False, True])
def test_leading_dimensions_are_flattened_labels_and_weights_alike(one_hot, rng):
    weight = rng.uniform(0.1, 3, 60)
    labels = (np.eye(5)[LABELS] if one_hot else LABELS).reshape(3, 4, 5, *[5] * one_hot)
    metric = BalancedAccuracy(5)
    metric.update_state(labels, LOGITS.reshape(3, 4, 5, 5), weight.reshape(3, 4, 5))
    expected = balanced_accuracy(weight=weight)
    assert result(metric) == pytest.approx(expected, rel=1e-6)


def test_it_is_zero_before_the_first_example_and_after_a_reset():
    metric = BalancedAccuracy(2)
    assert result(metric) == 0
    metric.update_state([0, 1], [[2.0, 1.0], [0.0, 1.0]])
    assert result(metric) == 1
    metric.reset_state()
    assert result(metric) == 0


def test_config_round_trip_keeps_every_argument():
    metric = BalancedAccuracy(7, name="recall", dtype="float32")
    again = keras.metrics.deserialize(json.loads(json.dumps(keras.metrics.serialize(metric))))
    assert isinstance(again, BalancedAccuracy)
    assert again.get_config() == metric.get_config()
    assert (again.num_classes, again.name) == (7, "recall")


@absent_class
@pytest.mark.parametrize("jit_compile", [False, True])
def test_fit_reports_it_for_training_and_validation_in_every_epoch(jit_compile):
    if BACKEND == "torch" and jit_compile:
        pytest.skip("`jit_compile` is XLA's; on PyTorch Keras would need a C++ compiler")
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(5, use_bias=False)])
    model.set_weights([np.eye(5)])  # the logits are the inputs, at a rate of 0 for good
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(0.0)
    model.compile(optimizer, loss, metrics=[BalancedAccuracy(5)], jit_compile=jit_compile)
    validation = (LOGITS[:25], LABELS[:25])
    history = model.fit(
        LOGITS, LABELS, batch_size=16, epochs=2, validation_data=validation, verbose=0
    ).history
    expected = balanced_accuracy(), balanced_accuracy(LABELS[:25], PREDICTIONS[:25])
    np.testing.assert_allclose(history["balanced_accuracy"], [expected[0]] * 2, rtol=1e-6)
    np.testing.assert_allclose(history["val_balanced_accuracy"], [expected[1]] * 2, rtol=1e-6)


@pytest.mark.parametrize("matrix", [[[-1, 1], [1, 0]], [[np.nan, 1], [1, 0]], [["a", 1], [1, 0]]])
def test_a_matrix_that_holds_no_counts_is_refused(matrix):
    for function in (per_class_accuracy, lambda m: classification_report(m, [2, 1])):
        with pytest.raises(ValueError, match="`confusion` must hold finite numbers >= 0"):
            function(matrix)


def test_recall_of_a_normalised_or_weighted_matrix_is_that_of_its_counts():
    counts = np.array([[6, 2, 0], [1, 3, 0], [0, 1, 1]])
    for matrix in (counts / counts.sum(), counts * 0.004, counts):
        np.testing.assert_allclose(per_class_accuracy(matrix), [0.75, 0.75, 0.5])


def test_a_number_of_classes_of_few_bits_does_not_overflow():
    for num_classes in (np.uint8(16), np.int8(16)):
        matrix = confusion_matrix([15, 0, 3], [15, 1, 3], num_classes)
        assert matrix.shape == (16, 16)
        assert (matrix.sum(), matrix[15, 15]) == (3, 1)
