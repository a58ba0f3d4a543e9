"""Figures from classes and probabilities: scikit-learn's, on real digits and a real classifier."""

import numpy as np
import pytest
import sklearn.metrics
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from experiments.exports import scores

GROUPS = {"many": [0, 1, 2], "medium": [3, 4, 5], "few": [6, 7, 8, 9]}


@pytest.fixture(scope="module")
def digits(real_digits):
    """Labels and probabilities of the last 900 digits by a model of a tail of the others."""
    images, labels = real_digits
    pixels = images.reshape(len(images), -1) / 255
    tail = np.concatenate([np.flatnonzero(labels[:897] == c)[: 90 - 9 * c] for c in range(10)])
    model = LogisticRegression(max_iter=200).fit(pixels[tail], labels[tail])
    return labels[897:], model.predict_proba(pixels[897:])


def figures(labels, probabilities, groups=GROUPS):
    images = scores.Images.of(labels, probabilities.argmax(axis=1), probabilities, True)
    return scores.figures(images, probabilities.shape[1], groups)


def by_loops(confidence, right, bins=15):
    """The calibration error from its definition, an image at a time."""
    inside = [[] for _ in range(bins)]
    for p, hit in zip(confidence.tolist(), right.tolist(), strict=True):
        inside[next(b for b in range(bins) if p <= (b + 1) / bins)].append((p, hit))
    filled = [np.array(of_bin) for of_bin in inside if of_bin]
    gaps = [len(of_bin) * abs(of_bin[:, 1].mean() - of_bin[:, 0].mean()) for of_bin in filled]
    return sum(gaps) / len(confidence)


def test_the_figures_are_those_of_scikit_learn(digits):
    labels, probabilities = digits
    predicted = probabilities.argmax(axis=1)
    found = figures(labels, probabilities)
    recalls = sklearn.metrics.recall_score(labels, predicted, average=None)
    expected = {
        "accuracy": sklearn.metrics.accuracy_score(labels, predicted),
        "balanced_accuracy": sklearn.metrics.balanced_accuracy_score(labels, predicted),
        **{f"{name}_accuracy": recalls[ids].mean() for name, ids in GROUPS.items()},
        "macro_f1": sklearn.metrics.f1_score(labels, predicted, average="macro"),
        "ece": by_loops(probabilities.max(axis=1), labels == predicted),
        "nll": sklearn.metrics.log_loss(labels, probabilities),
    }
    assert found == pytest.approx(expected, abs=1e-9)


def test_precision_recall_f1_and_support_of_each_class_are_those_of_scikit_learn(digits):
    labels, probabilities = digits
    predicted = probabilities.argmax(axis=1)
    counted = scores.Counted.of(labels, predicted, 10)
    found = (counted.precision, counted.recall, counted.f1, counted.support)
    expected = sklearn.metrics.precision_recall_fscore_support(labels, predicted)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("decimals", [16, 1])  # with one there are many ties
def test_the_area_under_each_curve_is_that_of_scikit_learn(digits, decimals):
    labels, probabilities = digits
    probabilities = probabilities.round(decimals)
    expected = [sklearn.metrics.roc_auc_score(labels == c, probabilities[:, c]) for c in range(10)]
    found = scores.area_under_curve(labels, probabilities)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_mean_area_is_scikit_learns_one_vs_rest_macro(digits):
    expected = sklearn.metrics.roc_auc_score(*digits, multi_class="ovr", average="macro")
    assert np.mean(scores.area_under_curve(*digits)) == pytest.approx(expected, rel=1e-12)


def test_classes_without_test_images_have_no_figure_and_count_in_no_mean(digits):
    labels, probabilities = digits
    kept = labels < 8  # some of which are taken for an 8 or a 9 all the same
    labels, probabilities = labels[kept], probabilities[kept]
    predicted = probabilities.argmax(axis=1)
    assert set(predicted) > set(range(8))
    found = figures(labels, probabilities, {**GROUPS, "few": [8, 9]})
    recalls = sklearn.metrics.recall_score(labels, predicted, labels=range(8), average=None)
    assert found["balanced_accuracy"] == pytest.approx(recalls.mean(), rel=1e-12)
    assert found["few_accuracy"] is None
    # A class that is only predicted has an F1, which is 0, as in scikit-learn.
    assert found["macro_f1"] == pytest.approx(
        sklearn.metrics.f1_score(labels, predicted, average="macro"), rel=1e-12
    )
    areas = scores.area_under_curve(labels, probabilities)
    assert np.isnan(areas).tolist() == [False] * 8 + [True] * 2


def test_a_class_that_is_neither_in_the_labels_nor_predicted_has_no_f1():
    counted = scores.Counted.of(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    assert scores.plain(counted.f1) == [pytest.approx(2 / 3), pytest.approx(2 / 3), None]
    assert scores.plain(counted.precision) == [1.0, 0.5, None]


def test_a_confidence_on_an_edge_is_in_the_bin_below_it():
    images, confidence, accuracy = scores.reliability(
        np.array([0.25, 0.26, 0.5, 1.0]), np.array([1, 0, 1, 1]), bins=4
    )
    assert images.tolist() == [1, 2, 0, 1]
    assert scores.plain(confidence) == [0.25, pytest.approx(0.38), None, 1.0]
    assert scores.plain(accuracy) == [1.0, 0.5, None, 1.0]


def test_a_probability_of_0_has_a_finite_loss_as_json_needs_it(real_digits):
    """GaussianNB gives many of them."""
    images, labels = real_digits
    pixels = images.reshape(len(images), -1)
    probabilities = GaussianNB().fit(pixels[::2], labels[::2]).predict_proba(pixels[1::2])
    own = probabilities[np.arange(len(probabilities)), labels[1::2]]
    assert (own == 0).any()
    expected = np.where(own > 0, -np.log(own, where=own > 0, out=np.zeros_like(own)), 708.396)
    nll = figures(labels[1::2], probabilities)["nll"]
    assert nll == pytest.approx(expected.mean(), rel=1e-4)


def test_normalized_probabilities_sum_to_1_and_keep_their_ratios():
    raw = np.array([[0.9, 0.6, 0.3], [0.0, 0.0, 0.0]])
    found = scores.normalized(raw)
    np.testing.assert_allclose(found, [[0.5, 1 / 3, 1 / 6], [1 / 3] * 3], rtol=1e-15)
