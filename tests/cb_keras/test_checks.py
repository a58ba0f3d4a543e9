"""Ranges of single numbers: each is checked in one place, for the library and the programs."""

import math

import numpy as np
import pytest

from cb_keras import checks


@pytest.mark.parametrize(
    ("check", "good", "bad", "message"),
    [
        (
            checks.check_depth,
            8,
            7,
            r"`depth` must be 6n \+ 2 \(8, 14, .*, got 7\.",
        ),
        (checks.check_depth, 32.0, 2, "got 2"),
        (checks.check_depth, np.int64(14), 9, "got 9"),
        (
            checks.check_momentum,
            0,
            -0.1,
            r"`momentum` must be in \[0, 1\), got -0\.1; ",
        ),
        (checks.check_momentum, 0.999, 1, "got 1; usual"),
        (
            checks.check_weight_decay,
            0,
            -1e-9,
            "`weight_decay` must be a .* >= 0, got -1e",
        ),
        (checks.check_weight_decay, 1e9, math.inf, "got inf"),
        (checks.check_imbalance_factor, 1, 1.01, r"`imbalance_factor` must be in \(0, 1\]"),
    ],
)
def test_a_number_of_its_range_is_returned_and_another_refused_with_its_value(
    check, good, bad, message
):
    assert check(good) == good
    for value in (bad, math.nan):
        with pytest.raises(ValueError, match=message if value is bad else "got nan"):
            check(value)
    with pytest.raises(ValueError, match=r"must be a number, got '1' \(text\)"):
        check("1")


def test_a_positive_number_is_named_by_its_argument():
    assert checks.check_positive("rate", np.float32(0.5)) == 0.5
    for value in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"`rate` must be a finite number > 0, got {value}"):
            checks.check_positive("rate", value)


def test_a_whole_number_is_between_its_bounds():
    assert checks.check_whole_number("n", 3.0, 3) == 3
    assert isinstance(checks.check_whole_number("n", np.int8(3), 3), int)
    assert checks.check_whole_number("n", 4, 3, below=5) == 4
    for value in (2, 5, 3.5, math.nan, math.inf):
        message = rf"`n` must be a whole number >= 3, got {value!r}, as said\."
        with pytest.raises(ValueError, match=message):
            checks.check_whole_number("n", value, 3, below=5, remedy=", as said")


@pytest.mark.parametrize(
    ("sizes", "wanted", "fit", "fit_by_one"),
    [
        *(((2, 3), (2, 3), True, True), ((2, None), (2, 3), True, True)),
        *(((2, 1), (2, 3), False, True), ((2, 3), (2, 1), False, False)),
        *(((2,), (2, 3), False, False), ((), (), True, True)),
    ],
)
def test_sizes_fit_where_they_are_the_same_or_unknown(sizes, wanted, fit, fit_by_one):
    assert checks.sizes_fit(sizes, wanted) is fit
    assert checks.sizes_fit(sizes, wanted, one_fits=True) is fit_by_one
