"""Flags that are wrong, as a shell sees it; `test_train_flags.py` goes through all of them."""

import pytest

from experiments import datasets, train
from tests.experiments.cases import run_program


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--imbalance_factor=50"], "--imbalance_factor: `imbalance_factor` must be in (0, 1]"),
        (
            ["--gamma=2"],
            "--gamma=2.0 has no effect on --loss=softmax; it belongs to focal and "
            "--method=softmax_focal with --loss=softmax and --method=cb_drw with --loss=focal "
            "and --method=power_ramp with --loss=focal and --method=difficulty with --loss=focal "
            "and --method=class_volume with --loss=focal.",
        ),
        (["--depth=33"], "--depth: `depth` must be 6n + 2 (8, 14, 20, 26, 32, ...), got 33."),
        (
            ["--long_tail=natural", "--imbalance_factor=0.1"],
            "--imbalance_factor has no effect with --long_tail=natural; leave one of them out.",
        ),
    ],
)
def test_a_wrong_flag_is_one_line_before_anything_is_done(
    capsys, monkeypatch, tmp_path, flags, line
):
    monkeypatch.setattr(datasets, "load", lambda *_: pytest.fail("data was loaded"))
    status, found = run_program(capsys, train.main, *flags, f"--output_dir={tmp_path / 'run'}")
    assert status == 2
    assert found.startswith(f"error: {line}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flag", "status", "line"),
    [
        ("--loss=hinge", 1, "flag --loss=hinge: value should be one of <softmax|sigmoid|focal>"),
        ("--dept=8", 1, "Unknown command line flag 'dept'. Did you mean: depth ?"),
        ("--depth=9", 2, "--depth: `depth` must be 6n + 2 (8, 14, 20, 26, 32, ...), got 9."),
    ],
)
def test_a_wrong_flag_is_the_only_line_of_a_program(run_python, monkeypatch, flag, status, line):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")  # as it is unless a test sets it
    done = run_python("-m", "experiments.train", flag, "--output_dir=/nowhere/run")
    assert (done.returncode, done.stdout, done.stderr) == (status, "", f"error: {line}\n")
