"""The order of accuracies in words, from numbers checked by hand."""

import pytest

from experiments.runs.figures import Statistic
from experiments.sweeps import claims

ORDER = ("CB", "sqrt", "none", "squared")


def words(**groups):
    statistics = {
        group: {name: Statistic(values) for name, values in zip(ORDER, rows, strict=True)}
        for group, rows in groups.items()
    }
    return claims.order_in_words(ORDER, statistics)


def test_the_order_holds_where_every_step_is_larger_than_the_spread():
    text = words(focal=[(0.79, 0.80), (0.74, 0.75), (0.70, 0.71), (0.60, 0.61)])
    assert text == "CB > sqrt > none > squared: holds for focal."


def test_the_order_does_not_hold_where_a_step_goes_the_other_way_beyond_the_spread():
    text = words(
        softmax=[(0.79, 0.80), (0.74, 0.75), (0.70, 0.71), (0.60, 0.61)],
        sigmoid=[(0.79, 0.80), (0.70, 0.71), (0.74, 0.75), (0.60, 0.61)],
    )
    assert text == (
        "CB > sqrt > none > squared: holds for softmax; not for sigmoid "
        "(none .7450 ± .0071 > sqrt .7050 ± .0071)."
    )


@pytest.mark.parametrize("sqrt", [(0.735, 0.755), (0.725, 0.745)])
def test_a_step_within_the_spread_is_called_undecided_whichever_way_it_goes(sqrt):
    # none: .74 +- .014; the difference of +-.005 is less than 4.30 times its error of .014.
    text = words(focal=[(0.98, 0.98), sqrt, (0.73, 0.75), (0.40, 0.40)])
    assert "undecided, within the spread, for focal (sqrt" in text
    assert "holds" not in text


def test_means_that_differ_by_just_the_spread_are_undecided():
    text = words(focal=[(0.75, 0.75), (0.75, 0.75), (0.5, 0.5), (0.25, 0.25)])
    assert "undecided, within the spread, for focal (CB" in text
    equal = {"a": Statistic((0.5, 0.5)), "b": Statistic((0.5, 0.5))}
    assert claims.best_in_words("focal", "power", equal).endswith("within the spread of it: b.")


def test_equal_means_are_said_to_be_equal():
    text = words(focal=[(0.79,), (0.79,), (0.70,), (0.60,)])
    assert "not for focal (sqrt .7900 = CB .7900)" in text


def test_one_seed_gives_an_order_and_says_that_the_spread_is_not_known():
    text = words(focal=[(0.79,), (0.74,), (0.70,), (0.60,)])
    assert text.startswith("CB > sqrt > none > squared: holds for focal.")
    assert "One seed" in text


def test_an_unfinished_group_has_no_order():
    assert "not finished for focal" in words(focal=[(0.79,), (0.74,), (), (0.60,)])


def test_the_best_is_told_alone_where_nothing_is_within_the_spread_or_the_spread_is_not_known():
    far = {"a": Statistic((0.70, 0.72)), "b": Statistic((0.60, 0.62))}
    assert claims.best_in_words("focal", "power", far) == (
        "focal: the most accurate power is a (.7100 ± .0141)."
    )
    one_seed = {"a": Statistic((0.70,)), "b": Statistic((0.70,))}
    assert claims.best_in_words("focal", "power", one_seed) == (
        "focal: the most accurate power is a (.7000)."
    )
