"""The seed of the long tail: the run's, unless it has its own."""

from experiments.runs import tails
from experiments.runs.naming import run_name
from experiments.training import flags


def settings(**own):
    return {**flags.protocol_defaults(), "dataset": "digits", "imbalance_factor": 0.1, **own}


def test_the_seed_of_the_tail_is_in_the_name_where_it_is_given():
    assert "factor0.1_tail7_softmax" in run_name(settings(long_tail_seed=7))
    assert "_tail" not in run_name(settings())


def test_an_older_run_that_recorded_none_has_that_of_the_run():
    assert tails.seed({"seed": 5}) == 5
