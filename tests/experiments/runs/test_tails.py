"""How runs and reports call a long tail; a natural tail has no factor."""

import pytest

from experiments.runs import tails

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
