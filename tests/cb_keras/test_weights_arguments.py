"""Counts, beta and power that the weights refuse, and what the messages say."""

import numpy as np
import pytest

import cb_keras

both = pytest.mark.parametrize(
    "function",
    [lambda counts: cb_keras.effective_number(counts, 0.9), cb_keras.class_balanced_weights],
    ids=["effective_number", "class_balanced_weights"],
)


@both
@pytest.mark.parametrize(
    ("bad", "value"),
    [(0, "0"), (-3, "-3"), (float("nan"), "nan"), (float("inf"), "inf"), (2.5, "2.5")],
)
def test_a_bad_count_is_named_with_its_class_its_value_and_a_remedy(function, bad, value):
    with pytest.raises(ValueError, match=f"class 2 has {value}\\b.*at least one example"):
        function([10, 5, bad, 7])


@both
def test_every_bad_class_is_named_up_to_five(function):
    with pytest.raises(ValueError, match="class 1 has 0, class 3 has -1"):
        function([10, 0, 5, -1])
    with pytest.raises(ValueError, match=r"class 5 has 0 and 3 more\."):
        function([4, 0, 0, 0, 0, 0, 0, 0, 0])


@both
@pytest.mark.parametrize("counts", [[], [[1, 2], [3, 4]], 5, np.float64(3)])
def test_counts_must_be_one_list(function, counts):
    with pytest.raises(ValueError, match="`class_counts` must be a list of one training count"):
        function(counts)


@both
@pytest.mark.parametrize("counts", [["cat", "dog"], [True, False], [1j, 2], [None, 3]])
def test_counts_must_be_numbers(function, counts):
    with pytest.raises(ValueError, match=r"`class_counts` must be numbers.*np\.bincount"):
        function(counts)


@both
@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda c: np.array(c, "float32")])
def test_whole_numbers_of_any_kind_are_counts(function, kind):
    np.testing.assert_array_equal(function(kind([5, 3, 2])), function([5, 3, 2]))


@pytest.mark.parametrize("beta", [-0.1, 1.0001, 50, float("nan"), float("inf"), -float("inf")])
def test_beta_outside_zero_to_one_is_refused_with_its_value(beta):
    with pytest.raises(ValueError, match=rf"`beta` must be in \[0, 1\], got {float(beta)}"):
        cb_keras.effective_number([3, 2], beta)
    with pytest.raises(ValueError, match=rf"`beta` must be in \[0, 1\], got {float(beta)}"):
        cb_keras.class_balanced_weights([3, 2], beta)


@pytest.mark.parametrize("power", [float("nan"), float("inf"), -float("inf")])
def test_a_power_that_is_not_finite_is_refused_with_its_value(power):
    with pytest.raises(ValueError, match=f"`power` must be finite, got {power}"):
        cb_keras.class_balanced_weights([3, 2], power=power)


@pytest.mark.parametrize("name", ["beta", "power"])
@pytest.mark.parametrize("value", ["much", None, [1, 2], 10**400])
def test_beta_and_power_must_be_numbers(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be a number, got "):
        cb_keras.class_balanced_weights([3, 2], **{name: value})
