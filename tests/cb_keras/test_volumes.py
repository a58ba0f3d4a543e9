"""Volumes of classes: SciPy's distances, binomials and minimiser on digits, and closed forms."""

import itertools

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import cdist
from scipy.special import comb
from sklearn.datasets import load_digits

import cb_keras
from cb_keras import volumes

COUNTS = [60, 25, 9, 2, 1]


@pytest.fixture(scope="module")
def tail():
    """A long tail of the digits 0 to 4: features and labels."""
    digits = load_digits()
    of_class = [digits.data[digits.target == c][:n] for c, n in enumerate(COUNTS)]
    return np.concatenate(of_class), np.repeat(np.arange(5), COUNTS)


def distances_of(features, labels):
    """Distances within each class, infinite from an example to itself."""
    classes = [features[labels == c] for c in range(labels.max() + 1)]
    return [cdist(own, own) + np.diag(np.full(len(own), np.inf)) for own in classes]


def sizes_of(k):
    return np.unique(np.rint(np.exp(np.linspace(0, np.log(k - 1), 40)))).astype(int)


def formula(volume, n):
    return 1 - (1 - 1 / volume) ** n


def least_squares(error, examples):
    bounds = (0, 2 * np.log(examples))
    # The best of many intervals, for the error may have several minima.
    edges = np.linspace(*bounds, 21)
    found = [
        minimize_scalar(error, bounds=pair, method="bounded", options={"xatol": 1e-10})
        for pair in itertools.pairwise(edges)
    ]
    return np.exp(min(found, key=lambda one: one.fun).x)


def reference(features, labels, quantile=0.5, prior=10.0):
    """The docstring's four steps."""
    distances = distances_of(features, labels)
    nearest = np.concatenate([d.min(1) for d in distances if len(d) > 1])
    radius = np.quantile(nearest, quantile) + 1e-9
    curves = []
    for d in distances:
        k = len(d)
        m = (d <= radius).sum(1)
        sizes = sizes_of(k) if k > 1 else np.array([], int)
        missed = [np.mean(comb(k - 1 - m, n) / comb(k - 1, n)) for n in sizes]
        curves.append((k, sizes, 1 - np.array(missed)))
    common = least_squares(
        lambda u: sum(
            k * np.mean((coverage - formula(np.exp(u), sizes)) ** 2)
            for k, sizes, coverage in curves
            if k > 1
        ),
        len(labels),
    )
    found = []
    for k, sizes, coverage in curves:
        shrunk = (k * coverage + prior * formula(common, sizes)) / (k + prior)
        one = (common,) if k == 1 else ()
        found += one or (
            least_squares(
                lambda u, n=sizes, s=shrunk: np.sum((s - formula(np.exp(u), n)) ** 2), len(labels)
            ),
        )
    return np.array(found)


@pytest.mark.parametrize(("quantile", "prior"), [(0.5, 10.0), (0.8, 1.0), (0.2, 100.0)])
def test_volumes_are_those_of_the_formula_on_digits(tail, quantile, prior):
    found = cb_keras.class_volumes(*tail, 5, quantile, prior)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, reference(*tail, quantile, prior), rtol=1e-5)


def test_the_coverage_is_the_mean_over_held_out_examples_and_all_subsets_of_the_others(tail):
    features, labels = tail
    near = distances_of(features, labels)[2] <= 24.0
    others = [[j for j in range(9) if j != i] for i in range(9)]
    expected = [
        np.mean(
            [near[i, list(s)].any() for i in range(9) for s in itertools.combinations(others[i], n)]
        )
        for n in range(1, 9)
    ]
    assert 0 < expected[0] < expected[-1] < 1
    sizes, coverage = volumes._coverage(near.sum(1))
    assert sizes.tolist() == list(range(1, 9))
    np.testing.assert_allclose(coverage, expected, rtol=1e-12)


def test_examples_of_so_many_kinds_as_likely_as_one_another_have_that_volume():
    """What Cui et al. assume: N disjoint volumes, of which every example is one at random."""
    draw = np.random.default_rng(0)
    kinds, counts = [30, 300, 3], [400, 400, 40]
    points = [draw.integers(n, size=k) for n, k in zip(kinds, counts, strict=True)]
    labels = np.repeat(np.arange(3), counts)
    found = cb_keras.class_volumes(np.concatenate(points)[:, None], labels, 3, 0.3, prior=0.1)
    np.testing.assert_allclose(found, kinds, rtol=0.15)


def test_classes_of_few_examples_have_about_the_volume_common_to_all(tail):
    features, labels = tail
    found = cb_keras.class_volumes(features, labels, 5)
    assert found[4] < found[3] < 1.3 * found[4]  # the two of class 3 are not close
    near = features.copy()
    near[labels == 3] = features[labels == 3][0]
    again = cb_keras.class_volumes(near, labels, 5)
    assert 1 < again[3] < again[4]
    for some in (found, again):
        number = cb_keras.effective_number(COUNTS, 1 - 1 / some)
        assert (number >= 1).all()
        assert (number <= np.array(COUNTS) * (1 + 1e-12)).all()


def test_a_single_example_a_class_has_the_largest_volume_and_a_class_without_any_the_common():
    np.testing.assert_array_equal(cb_keras.class_volumes(np.eye(3), [0, 1, 2], 3), 9)
    found = cb_keras.class_volumes([[0.0], [1.0], [5.0]], [0, 0, 0], 2, prior=1e-9)
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_the_same_picture_again_and_again_is_a_volume_of_one(tail):
    features = np.repeat(tail[0][[0, 70]], 30, axis=0) / 7
    found = cb_keras.class_volumes(features, np.repeat([0, 1], 30), 2)
    np.testing.assert_allclose(found, 1, rtol=1e-6)


def test_order_unit_and_shape_of_the_features_do_not_matter(tail):
    features, labels = tail
    found = cb_keras.class_volumes(features, labels, 5)
    order = np.random.default_rng(1).permutation(len(labels))
    other = (1e4 + 3 * features[order]).reshape(-1, 8, 8)
    np.testing.assert_allclose(
        cb_keras.class_volumes(other, labels[order].astype("uint8"), 5), found, rtol=1e-6
    )


def test_of_a_large_class_evenly_spaced_examples_are_used(tail):
    features, labels = tail
    kept = np.concatenate([np.arange(0, 60, 6), 60 + np.arange(10) * 25 // 10, np.arange(85, 97)])
    found = cb_keras.class_volumes(features, labels, 5, max_examples=10)
    np.testing.assert_allclose(found, cb_keras.class_volumes(features[kept], labels[kept], 5))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"features": [1.0, 2.0]}, r"`features` must be numbers \[N, ...\], got float64 \(2,\)"),
        ({"features": [["a"], ["b"]]}, r"`features` must be numbers"),
        ({"features": [[np.nan], [1.0]]}, "`features` must be finite"),
        ({"labels": [0, 1, 0]}, r"`labels` must be 2 class ids, .* got int64 \(3,\)"),
        ({"labels": [0.0, 1.0]}, "`labels` must be 2 class ids, .* got float64"),
        ({"labels": [0, 2]}, r"`labels` must be in \[0, 2\), got 2 at position 1"),
        ({"num_classes": 0}, "`num_classes` must be a whole number >= 1"),
        ({"quantile": 1.0}, r"`quantile` must be in \(0, 1\), got 1.0"),
        ({"prior": 0}, "`prior` must be a finite number > 0"),
        ({"max_examples": 1}, "`max_examples` must be a whole number >= 2"),
    ],
)
def test_what_has_no_volumes_is_refused(changes, words):
    given = {"features": [[0.0], [1.0]], "labels": [0, 1], "num_classes": 2}
    with pytest.raises(ValueError, match=words):
        cb_keras.class_volumes(**{**given, **changes})
