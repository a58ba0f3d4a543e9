"""Bootstrap intervals and paired comparisons: closed forms, SciPy, on real digits."""

import numpy as np
import pytest
import scipy.stats
from sklearn.linear_model import LogisticRegression

from experiments.exports import bootstrap, comparison
from experiments.exports.predictions import Predictions

GROUPS = {"many": [0, 1, 2], "medium": [3, 4, 5], "few": [6, 7, 8, 9]}
Z = scipy.stats.norm.ppf(0.975)


@pytest.fixture(scope="module")
def two(real_digits):
    """`Predictions` of two classifiers of a tail of digits, without and with balanced weights."""
    images, labels = real_digits
    pixels = images.reshape(len(images), -1) / 255
    tail = np.concatenate([np.flatnonzero(labels[:897] == c)[: 90 - 9 * c] for c in range(10)])

    def answers(class_weight):
        model = LogisticRegression(class_weight=class_weight, C=0.01).fit(
            pixels[tail], labels[tail]
        )
        found = model.predict_proba(pixels[897:])
        about = {"probabilities": "softmax"}
        return Predictions(labels[897:], found.argmax(axis=1), np.log(found), found, about)

    return answers(None), answers("balanced")


def test_a_resample_has_as_many_images_of_each_class_as_the_test_set(two):
    labels = two[0].labels
    drawn = list(bootstrap.resamples(labels, 20))
    for places in drawn:
        np.testing.assert_array_equal(np.bincount(labels[places]), np.bincount(labels))
    assert len(np.unique(drawn[0])) == pytest.approx((1 - np.exp(-1)) * len(labels), rel=0.1)
    assert set(np.concatenate(drawn)) == set(range(len(labels)))


def test_the_same_seed_draws_the_same_and_another_does_not(two):
    first, again, other = (next(bootstrap.resamples(two[0].labels, 1, s)) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_interval_of_the_accuracy_is_that_of_independent_classes(two):
    """Variance of a sum of independent classes: sum_c n_c p_c (1 - p_c) / N^2."""
    images = two[0].images
    right = images.labels == images.classes
    of_classes = [right[images.labels == c] for c in range(10)]
    deviation = np.sqrt(sum(len(r) * r.mean() * (1 - r.mean()) for r in of_classes)) / len(right)
    found = bootstrap.intervals(
        images.labels, lambda chosen: {"accuracy": float(right[chosen].mean())}, ["accuracy"]
    )["accuracy"]
    expected = [right.mean() - Z * deviation, right.mean() + Z * deviation]
    np.testing.assert_allclose(found, expected, atol=0.15 * deviation)


def test_the_interval_of_a_difference_is_that_of_paired_images(two):
    a, b = (answers.labels == answers.classes for answers in two)
    gain = b.astype(float) - a
    deviation = np.sqrt(
        sum(gain[two[0].labels == c].var() * (two[0].labels == c).sum() for c in range(10))
    ) / len(gain)
    found = comparison.compare(*two, GROUPS, 500)["figures"]["accuracy"]
    assert found["difference"] == pytest.approx(gain.mean())
    assert found["difference"] == pytest.approx(found["b"] - found["a"])
    expected = [gain.mean() - Z * deviation, gain.mean() + Z * deviation]
    np.testing.assert_allclose(found["interval"], expected, atol=0.15 * deviation)
    unpaired = np.sqrt(a.var() + b.var()) / np.sqrt(len(a))
    assert deviation < 0.8 * unpaired  # which the pairs are for


def test_the_other_way_round_every_difference_has_the_other_sign(two):
    one, other = (comparison.compare(*pair, GROUPS, 50)["figures"] for pair in (two, two[::-1]))
    assert set(one) == {
        *("accuracy", "balanced_accuracy", "many_accuracy", "medium_accuracy", "few_accuracy"),
        *("macro_f1", "nll", "ece"),
    }
    for name, figure in one.items():
        assert figure["difference"] == -other[name]["difference"] != 0
        low, high = figure["interval"]
        assert low < high
        assert [-high, -low] == pytest.approx(other[name]["interval"])


def test_a_model_does_not_differ_from_itself(two):
    found = comparison.compare(two[0], two[0], GROUPS, 20)
    for figure in found["figures"].values():
        assert (figure["difference"], figure["interval"]) == (0, [0, 0])
    assert found["mcnemar"]["p_value"] == 1


def test_mcnemars_test_is_the_binomial_test_of_the_images_that_one_alone_gets_right(two):
    right = [answers.labels == answers.classes for answers in two]
    found = comparison.mcnemar(*right)
    table = [[int((x & y).sum()) for y in (right[1], ~right[1])] for x in (right[0], ~right[0])]
    assert [[found["both_right"], found["a_alone"]], [found["b_alone"], found["neither"]]] == table
    a, b = found["a_alone"], found["b_alone"]
    assert 0 < a != b > 0
    assert found["p_value"] == pytest.approx(scipy.stats.binomtest(a, a + b).pvalue, rel=1e-9)


@pytest.mark.parametrize(
    ("a", "b"), [(0, 0), (0, 1), (5, 0), (3, 3), (2, 9), (400, 500), (30_000, 30_500)]
)
def test_mcnemars_p_is_exact_for_few_images_and_many(a, b):
    only_a, only_b = np.repeat([True, False], [a, b]), np.repeat([False, True], [a, b])
    expected = scipy.stats.binomtest(a, a + b).pvalue if a + b else 1
    assert comparison.mcnemar(only_a, only_b)["p_value"] == pytest.approx(expected, rel=1e-7)


def test_a_figure_that_one_model_lacks_has_no_difference(two):
    """Raw probabilities of a sigmoid head are not a distribution."""
    raw = Predictions(
        *(getattr(two[1], name) for name in ("labels", "classes", "logits", "probabilities")),
        {"probabilities": "sigmoid"},
    )
    found = comparison.compare(two[0], raw, {}, 5)["figures"]
    assert found["nll"]["difference"] is found["nll"]["interval"] is None
    assert "few_accuracy" not in found
    assert any(
        line.split() == ["NLL", found_text(found["nll"]["a"]), "-", "-", "-"]
        for line in comparison.lines(comparison.compare(two[0], raw, {}, 5))
    )


@pytest.mark.parametrize(("images", "words"), [(1, "has 1 test image, too"), (9, "has 9 test im")])
def test_intervals_by_few_images_of_a_class_are_said_to_be_too_narrow(two, images, words):
    numbers = [20] * 9 + [images]
    keep = np.concatenate([np.flatnonzero(two[0].labels == c)[:n] for c, n in enumerate(numbers)])
    fewer = [part(answers, keep) for answers in two]
    last = list(comparison.lines(comparison.compare(*fewer, GROUPS, 5)))[-1]
    assert f"each class by itself; the rarest class {words}" in last
    whole = list(comparison.lines(comparison.compare(*two, GROUPS, 5)))[-1]
    assert whole.endswith("each class by itself")


def part(answers, places):
    arrays = (getattr(answers, n)[places] for n in ("labels", "classes", "logits", "probabilities"))
    return Predictions(*arrays, answers.about)


def found_text(value):
    return f"{value:.4f}".replace("0.", ".", 1) if value < 1 else f"{value:.4f}"
