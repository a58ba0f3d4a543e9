"""How numbers are averaged, and how they are printed."""

import numpy as np
import pytest
from scipy.stats import ttest_ind

from experiments.runs import figures
from experiments.runs.figures import Statistic


def test_a_statistic_has_the_mean_and_sample_deviation_of_numpy_and_prints_them():
    values = [0.7793, 0.7805, 0.7817]
    statistic = Statistic.of(iter(values))
    assert statistic.values == tuple(values)
    assert statistic.mean == pytest.approx(np.mean(values), abs=1e-15)
    assert statistic.deviation == pytest.approx(np.std(values, ddof=1), abs=1e-15)
    assert str(statistic) == ".7805 ± .0012"


def test_values_that_are_none_do_not_count_and_one_value_has_no_deviation():
    one = Statistic.of([None, 0.5, None])
    assert (one.mean, one.deviation, str(one)) == (0.5, None, ".5000")
    none = Statistic.of([None])
    assert (none.values, none.mean, none.deviation, str(none)) == ((), None, None, "-")
    assert Statistic.of([0.0, 0.0]).deviation == 0


def test_means_are_told_apart_where_welchs_test_is_below_5_percent(rng):
    agree, told_apart = [], []
    for _ in range(2000):
        sizes, deviations = rng.integers(2, 9, 2), rng.uniform(0.1, 3, 2)
        a, b = (rng.normal(0, s, n) for s, n in zip(deviations, sizes, strict=True))
        b += rng.choice([0, 1, 5])
        apart = figures.within_spread(Statistic.of(a), Statistic.of(b)) is False
        agree.append(apart == (ttest_ind(a, b, equal_var=False).pvalue < 0.05))
        told_apart.append(apart)
    assert np.mean(agree) > 0.98  # else by the quantile, which is interpolated
    assert 0.2 < np.mean(told_apart) < 0.8


@pytest.mark.parametrize(
    ("a", "b", "within"),
    [
        ((0.5, 0.5), (0.5, 0.5), True),
        ((0.5, 0.5), (0.6, 0.6), False),
        ((0.5,), (0.6, 0.7), None),
        # A difference of .1; the error is .0141 and 4.30 times it .061, of two seeds each.
        ((0.80, 0.82), (0.70, 0.72), False),
        ((0.80, 0.82), (0.74, 0.76), True),
        # One degree of freedom: the error is .01 and 12.7 times it .127.
        ((0.80, 0.82), (0.69, 0.69), True),
        ((0.80, 0.82), (0.68, 0.68), False),
    ],
)
def test_two_means_by_hand(a, b, within):
    assert figures.within_spread(Statistic(a), Statistic(b)) is within
    assert figures.within_spread(Statistic(b), Statistic(a)) is within


def test_methods_that_are_alike_are_told_apart_in_5_percent_of_cases(rng):
    for seeds in (2, 3, 5):
        pairs = rng.normal(0.7, 0.01, (4000, 2, seeds))
        apart = [figures.within_spread(Statistic(tuple(a)), Statistic(tuple(b))) for a, b in pairs]
        assert 0.01 < np.mean(np.equal(apart, False)) < 0.06


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.78051, ".7805"), (0.5, ".5000"), (0.0, ".0000"), (0.00004, ".0000")),
        *((1.0, "1.0000"), (0.99996, "1.0000"), (0.99994, ".9999"), (10.5, "10.5000")),
        (None, "-"),
    ],
)
def test_an_accuracy_has_four_decimals_and_no_leading_zero(value, text):
    assert figures.accuracy(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *(
            (0, "0 s"),
            (12.4, "12 s"),
            (59.4, "59 s"),
            (59.6, "1 min"),
            (60, "1 min"),
            (3569, "59 min"),
        ),
        *((3600, "1 h 00 min"), (3899, "1 h 05 min"), (90_000, "25 h 00 min")),
    ],
)
def test_a_duration_is_in_seconds_minutes_or_hours(seconds, text):
    assert figures.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((None, "not recorded"), ([0.8, 0.9], "0.8, 0.9"), ((1, "a"), "1, a"), ([], "")),
        *((0.1, "0.1"), (1.0, "1"), (1e-5, "1e-05"), (128, "128"), (True, "True")),
        ("cifar10", "cifar10"),
    ],
)
def test_a_setting_is_printed_as_a_flag_is_given(value, text):
    assert figures.setting(value) == text


def test_one_thing_is_counted_in_the_singular():
    counts = [figures.counted(number, "epoch") for number in (0, 1, 2)]
    assert counts == ["0 epochs", "1 epoch", "2 epochs"]
