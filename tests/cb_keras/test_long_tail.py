"""Long-tailed counts in exact integer arithmetic, and the choice of examples by pure Python."""

import re
from fractions import Fraction

import numpy as np
import pytest

import cb_keras

LABELS = np.tile([0, 1, 2, 1], 10)


def splitmix64(x):
    """The published SplitMix64 step in Python's unbounded integers."""
    x = (x + 0x9E3779B97F4A7C15) % 2**64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
    return x ^ (x >> 31)


def expected_choice(labels, class_counts, seed):
    """Positions of the smallest hashes of each class, one example at a time."""
    chosen = []
    for c, count in enumerate(class_counts):
        start = splitmix64((splitmix64(seed) + c) % 2**64)
        positions = [i for i, label in enumerate(labels) if label == c]
        chosen += sorted(positions, key=lambda i, s=start: splitmix64((s + i) % 2**64))[:count]
    return sorted(chosen)


def test_cifar10_at_factor_one_fiftieth_has_the_counts_of_the_official_code():
    counts = cb_keras.long_tailed_counts(10, 5000, 0.02)
    assert counts.tolist() == [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100]
    assert counts.dtype == np.int64


@pytest.mark.parametrize(
    ("num_classes", "max_count", "factor"),
    [(10, 5000, (1, 10)), (100, 500, (1, 100)), (100, 500, (1, 50)), (7, 999, (3, 7))],
)
def test_counts_are_the_exponential_profile_truncated(num_classes, max_count, factor):
    # n <= max * f^(c/(C-1)) exactly when n^(C-1) <= max^(C-1) * f^c, in exact fractions.
    counts = cb_keras.long_tailed_counts(num_classes, max_count, factor[0] / factor[1])
    last = num_classes - 1
    for c, count in enumerate(counts.tolist()):
        bound = Fraction(max_count) ** last * Fraction(*factor) ** c
        assert count**last <= bound < (count + 1) ** last


@pytest.mark.parametrize(("num_classes", "factor"), [(4, 1), (1, 0.02)])
def test_factor_one_or_a_single_class_keeps_every_example(num_classes, factor):
    counts = cb_keras.long_tailed_counts(num_classes, 300, factor)
    assert counts.tolist() == [300] * num_classes


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (50, "got 50.0; for a 50:1 tail use 1/50 = 0.02."),
        (1.5, "got 1.5; for a 1.5:1 tail use 1/1.5 = 0.6667."),
        (0, "got 0.0; it is the smallest class size divided by the largest."),
        (-0.02, "got -0.02; it is the smallest class size divided by the largest."),
        (float("nan"), "got nan; it is the smallest class size divided by the largest."),
        (float("inf"), "got inf; it is the smallest class size divided by the largest."),
    ],
)
def test_a_factor_outside_zero_to_one_is_refused_with_its_value_and_the_remedy(factor, message):
    message = f"`imbalance_factor` must be in (0, 1], {message}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        cb_keras.long_tailed_counts(10, 5000, factor)


@pytest.mark.parametrize("value", [0, -3, 2.5])
@pytest.mark.parametrize("name", ["num_classes", "max_count"])
def test_numbers_of_classes_and_examples_must_be_whole_and_positive(name, value):
    arguments = {"num_classes": 10, "max_count": 5000, "imbalance_factor": 0.02, name: value}
    with pytest.raises(ValueError, match=rf"`{name}` must be a whole number >= 1, got {value}\."):
        cb_keras.long_tailed_counts(**arguments)


@pytest.mark.parametrize("max_count", [1, 3, 10, 49])  # in floats 49 * (1/49) < 1
def test_the_factor_that_the_message_on_an_empty_class_names_leaves_no_class_empty(max_count):
    with pytest.raises(ValueError, match=r"leaves class .* without examples") as error:
        cb_keras.long_tailed_counts(10, max_count, 0.001)
    remedy = Fraction(re.search(r"use at least (\S+)\.$", str(error.value))[1])
    assert cb_keras.long_tailed_counts(10, max_count, remedy)[-1] == 1


def test_the_first_class_left_without_examples_is_named():
    # 10 * 0.02^(c/9) falls below 1 where c > 9 log(10) / log(50) = 5.30.
    with pytest.raises(ValueError, match=r"`imbalance_factor`=0\.02 leaves class 6 of 10 .* 10;"):
        cb_keras.long_tailed_counts(10, 10, 0.02)


def test_the_reference_splitmix64_gives_the_published_numbers():
    # Rosetta Code, "Pseudo-random numbers/Splitmix64": the first numbers of seed 1234567.
    states = [(1234567 + i * 0x9E3779B97F4A7C15) % 2**64 for i in range(3)]
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [splitmix64(state) for state in states] == expected


def test_seed_zero_chooses_the_frozen_positions():
    chosen = cb_keras.choose_long_tail(LABELS, [5, 3, 2], seed=0)
    assert chosen.tolist() == [0, 2, 4, 8, 9, 24, 27, 28, 29, 38]
    assert chosen.dtype == np.int64


@pytest.mark.parametrize("seed", [0, 1, 7, 2**53 + 1, 2**63 - 1])
def test_every_seed_chooses_as_splitmix64_in_pure_python(seed):
    labels = np.random.default_rng(3).integers(0, 5, 400)
    counts = [60, 40, 20, 1, 0]
    chosen = cb_keras.choose_long_tail(labels, counts, seed)
    assert chosen.tolist() == expected_choice(labels, counts, seed)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "uint64"])
def test_the_integer_type_of_the_labels_does_not_matter(dtype):
    expected = cb_keras.choose_long_tail(LABELS, [5, 3, 2])
    chosen = cb_keras.choose_long_tail(LABELS.astype(dtype), [5, 3, 2])
    np.testing.assert_array_equal(chosen, expected)


def test_every_class_gets_its_count_in_ascending_positions():
    chosen = cb_keras.choose_long_tail(LABELS, np.array([10, 7, 0]), seed=5)
    assert np.bincount(LABELS[chosen], minlength=3).tolist() == [10, 7, 0]
    assert (np.diff(chosen) > 0).all()


def test_a_smaller_count_chooses_a_subset_of_what_a_larger_one_chooses():
    large = set(cb_keras.choose_long_tail(LABELS, [8, 12, 6], seed=2).tolist())
    small = set(cb_keras.choose_long_tail(LABELS, [4, 11, 1], seed=2).tolist())
    assert small < large


def test_every_example_is_chosen_as_often_as_every_other_over_the_seeds():
    labels = np.zeros(4, int)
    chosen = [cb_keras.choose_long_tail(labels, [1], seed).item() for seed in range(2000)]
    # Binomial(2000, 1/4): mean 500, standard deviation 19.4.
    np.testing.assert_allclose(np.bincount(chosen, minlength=4), 500, atol=4 * 19.4)


@pytest.mark.parametrize(
    ("labels", "found"),
    [([0.0, 1.0], r"float64 \(2,\)"), ([[0, 1]], r"int64 \(1, 2\)"), ([True], r"bool \(1,\)")],
)
def test_labels_must_be_a_list_of_integers(labels, found):
    with pytest.raises(ValueError, match=rf"`labels` must be integers of shape \[N\], got {found}"):
        cb_keras.choose_long_tail(labels, [1, 1])


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1, -1], r"whole numbers >= 0, but class 1 has -1\."),
        ([1.0, 1.0], r"integers, got dtype float64: \[1\.0, 1\.0\]"),
        *(([[1, 1]], r"a list .* \[\[1, 1\]\]"), (2, "a list .*: 2"), ([], "a list")),
    ],
)
def test_counts_must_be_a_list_of_integers_from_zero(counts, message):
    with pytest.raises(ValueError, match=f"`class_counts` must be {message}"):
        cb_keras.choose_long_tail([0, 1], counts)


@pytest.mark.parametrize(
    ("labels", "found"),
    [([0, 2], "0 to 2"), ([-1, 1], "-1 to 1"), ([1, 2], r"1 to 2\. Labels start at 1\? .*")],
)
def test_a_label_that_is_not_a_class_is_refused_with_the_range_found(labels, found):
    with pytest.raises(ValueError, match=rf"`labels` must be in \[0, 2\), .* found {found}\."):
        cb_keras.choose_long_tail(labels, [1, 1])


@pytest.mark.parametrize("seed", [-1, 1.5, 2**63])
def test_a_seed_out_of_range_is_refused_with_its_value(seed):
    with pytest.raises(ValueError, match=rf"`seed` must be an integer in \[0, 2\^63\), got {seed}"):
        cb_keras.choose_long_tail([0, 1], [1, 1], seed)


def test_more_examples_than_a_class_has_are_refused_with_both_numbers():
    message = "class 1 has 2 examples, 3 were asked for; lower `class_counts`."
    with pytest.raises(ValueError, match=re.escape(message)):
        cb_keras.choose_long_tail([0, 1, 1, 0], [2, 3])
