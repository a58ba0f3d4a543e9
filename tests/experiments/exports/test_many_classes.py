"""More classes than a confusion matrix is kept for: the same figures without one."""

import copy

import numpy as np
import pytest

from cb_keras import metrics
from experiments import compare
from experiments.exports import evaluation
from experiments.runs import schema
from experiments.sweeps import results

CLASSES = 12
COUNTS = [300 // (c + 1) for c in range(CLASSES)]
SETTINGS = {"loss": "softmax", "cb_beta": 0.99, "cb_power": 0.5, "gamma": 1.0}
DESCRIPTION = {
    **{"settings": SETTINGS, "class_counts": COUNTS, "class_weights": [1.0] * CLASSES},
    **{"epochs": 7, "train_seconds": 3.5, "images_per_second": 900.0},
}
CONFIG = {"class_counts": COUNTS, "shot_groups": metrics.shot_groups(COUNTS)[0]}


@pytest.fixture(scope="module")
def answers():
    """Of a model that is often right; class 3 has no images."""
    random = np.random.default_rng(0)
    labels = random.choice([c for c in range(CLASSES) if c != 3], 200)
    logits = random.normal(size=(200, CLASSES)).astype("float32")
    logits[np.arange(200), labels] += 2
    about = {"class_names": list("abcdefghijkl"), "class_counts": COUNTS, "test": {}}
    return evaluation.predictions_of(labels, logits.argmax(1), logits, SETTINGS, about)


@pytest.fixture
def figures(answers, monkeypatch):
    """`metrics.json` with the matrix, and without it."""
    whole = evaluation.of_predictions(answers, DESCRIPTION)
    monkeypatch.setattr(schema, "LARGEST_MATRIX", CLASSES - 1)
    return whole, evaluation.of_predictions(answers, DESCRIPTION)


def test_all_figures_but_the_matrix_are_the_same(figures):
    whole, without = figures
    assert without.pop("confusion_matrix") is None
    assert len(whole.pop("confusion_matrix")) == CLASSES
    assert whole == without


def test_the_figures_are_checked_against_those_of_the_classes(figures):
    _, right = figures
    schema.check_metrics(copy.deepcopy(right), CONFIG)
    accuracies = [*right["per_class_accuracy"]]
    accuracies[0] += 0.003  # of no whole number of images
    for wrong, message in (
        ({"accuracy": right["accuracy"] - 0.01}, "`accuracy` is .*, but its support gives"),
        ({"many_accuracy": 0.1}, "`many_accuracy` is 0.1, but its support gives"),
        ({"per_class_accuracy": accuracies}, r"`per_class_accuracy\[0\]` is"),
        ({"support": None}, "`support` is missing or not 12 counts"),
        ({"support": [0] * CLASSES}, "of one test image at least"),
    ):
        with pytest.raises(schema.DamagedError, match=message):
            schema.check_metrics({**copy.deepcopy(right), **wrong}, CONFIG)


def test_a_matrix_of_few_classes_can_not_be_missing(answers):
    whole = evaluation.of_predictions(answers, DESCRIPTION)
    with pytest.raises(schema.DamagedError, match="`confusion_matrix` is missing or not 12 x 12"):
        schema.check_metrics({**whole, "confusion_matrix": None}, CONFIG)


def test_tables_have_the_shot_figures_of_today_without_the_matrix(figures):
    whole, without = ({**f, "few_accuracy": None} for f in figures)
    today = results.with_todays_shot_groups(CONFIG, without)
    assert today[0]["few_accuracy"] == figures[0]["few_accuracy"] is not None
    assert today[1:] == results.with_todays_shot_groups(CONFIG, whole)[1:]


def test_stored_predictions_are_known_to_be_those_of_the_figures(answers, figures):
    others = copy.deepcopy(answers)
    right = np.flatnonzero(others.labels == others.classes)[0]
    others.classes[right] = (others.classes[right] + 1) % CLASSES
    for measured in figures:
        assert compare._are_of(answers, measured)
        assert not compare._are_of(others, measured)
