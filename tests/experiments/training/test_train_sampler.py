"""Samplers in the training: the same bits when it is continued, and a word where two balance."""

import pytest

from experiments import methods
from experiments.training import images
from tests.experiments.cases import assert_same
from tests.experiments.training.cases import stopped_after

PLAIN = {"loss": "softmax", "cb_power": 0.0}


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["class_balanced", "progressive"])
def test_a_run_with_a_sampler_continues_to_the_same_bits(sampler, train_tiny, tmp_path, capsys):
    flags = (f"--sampler={sampler}", "--train_epochs=4", "--cb_power=0")
    whole = train_tiny(tmp_path / "whole", *flags)
    stopped_after(3, train_tiny, tmp_path / "stopped", *flags)
    continued = train_tiny(tmp_path / "stopped", *flags, "--resume")
    assert_same(continued, whole)
    assert whole.config["flags"]["sampler"] == sampler
    assert "count twice" not in capsys.readouterr().err
    train_tiny(tmp_path / "twice", f"--sampler={sampler}", "--train_epochs=1", "--warmup_epochs=0")
    assert f"warning: --sampler={sampler} and --cb_power=1 both" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({}, ""),
        ({"cb_power": 0.5}, "--cb_power=0.5"),
        ({"method": "softmax_focal", "gamma": 2.0}, ""),
        ({"method": "cb_drw", "cb_power": 1.0}, "--method=cb_drw with --cb_power=1"),
        ({"method": "logit_adjusted", "tau": 0.0}, ""),
        ({"method": "logit_adjusted", "tau": 1.0}, "--method=logit_adjusted with --tau=1"),
        ({"method": "balanced_softmax"}, "--method=balanced_softmax"),
        (
            {"method": "vs", "vs_gamma": 0.2, "tau": 1.0},
            "--method=vs with --vs_gamma=0.2 and --tau=1",
        ),
        ({"method": "ldam"}, "--method=ldam with --max_margin=0.5"),
    ],
)
def test_a_sampler_next_to_another_answer_to_the_frequencies_is_told(own, words):
    settings = {**PLAIN, **own}
    assert methods.of(settings).balanced_by(settings) == words
    assert images.balanced_twice({**settings, "sampler": "uniform"}) is None
    warning = images.balanced_twice({**settings, "sampler": "square_root"})
    assert (warning is None) is (not words)
    assert warning is None or warning.startswith(f"--sampler=square_root and {words} both deal")
