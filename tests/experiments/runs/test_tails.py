"""How runs and reports call a long tail; a natural tail has no factor."""

import pytest

from experiments.runs import tails
from experiments.runs.naming import run_name
from experiments.training import flags

CUT = {"long_tail": "exponential", "imbalance_factor": 0.02}
BALANCED = {"long_tail": "exponential", "imbalance_factor": 1.0}
NATURAL = {"long_tail": "natural", "imbalance_factor": 0.02}


@pytest.mark.parametrize(
    ("settings", "natural", "balanced", "factor", "name", "words"),
    [
        (CUT, False, False, 0.02, "factor0.02", "imbalance factor 0.02"),
        (BALANCED, False, True, 1.0, "factor1", "balanced"),
        (NATURAL, True, False, None, "natural", "natural tail"),
        ({**NATURAL, "imbalance_factor": 1.0}, True, False, None, "natural", "natural tail"),
        # Of a run that was recorded before there was a choice.
        ({"imbalance_factor": 0.05}, False, False, 0.05, "factor0.05", "imbalance factor 0.05"),
    ],
)
def test_a_tail_is_called_by_its_kind_and_its_factor(
    settings, natural, balanced, factor, name, words
):
    assert tails.is_natural(settings) is natural
    assert tails.is_balanced(settings) is balanced
    assert tails.factor(settings) == factor
    assert tails.in_name(settings) == name
    assert tails.in_words(settings) == words


def settings_of(**own):
    return {**flags.protocol_defaults(), "dataset": "digits", "imbalance_factor": 0.1, **own}


def test_the_seed_of_the_tail_is_in_the_name_where_it_is_given():
    assert "factor0.1_tail7_softmax" in run_name(settings_of(long_tail_seed=7))
    assert "_tail" not in run_name(settings_of())


def test_an_older_run_that_recorded_none_has_that_of_the_run():
    assert tails.seed({"seed": 5}) == 5
