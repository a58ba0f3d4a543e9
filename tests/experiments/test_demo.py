"""What the demo trains, and what it says at its end."""

import pathlib

from absl import flags
from absl.testing import flagsaver

from experiments import demo


def test_the_last_line_says_what_the_term_changed():
    plain = [
        {"few_accuracy": 0.25, "balanced_accuracy": 0.8},
        {"few_accuracy": 0.5, "balanced_accuracy": 0.9},
    ]
    balanced = [
        {"few_accuracy": 0.5, "balanced_accuracy": 0.75},
        {"few_accuracy": 0.5, "balanced_accuracy": 0.75},
    ]
    assert demo.comparison(plain, balanced) == (
        "what the class-balanced term changed, mean of 2 seeds: few-shot accuracy "
        "0.375 -> 0.500 (+0.125), balanced accuracy 0.850 -> 0.750 (-0.100)"
    )


def test_it_trains_both_methods_with_the_same_seeds_on_the_preset():
    with flagsaver.flagsaver():
        flags.FLAGS(["demo", *demo._ARGUMENTS])
        cells, jobs = demo.plan(pathlib.Path("runs/demo"))
    assert len({job.folder for job in jobs}) == len(jobs) == 2 * len(demo.SEEDS)
    for power, method in demo.METHODS.items():
        own = [cell.settings for cell in cells if cell.row == method]
        assert [s["seed"] for s in own] == list(demo.SEEDS)
        same = {(s["cb_power"], s["loss"], s["dataset"], s["train_epochs"]) for s in own}
        assert same == {(power, "focal", "digits", 60)}


def test_flags_are_refused(run_python):
    done = run_python("-m", "experiments.demo", "--seed=3")
    assert done.returncode == 1
    assert done.stderr.endswith(
        "error: the demo has no flags; experiments.train and experiments.sweep have.\n"
    )
    assert run_python("-m", "experiments.demo", "--help").stdout.startswith("Digits with and")
