"""Which flags are refused, with what words, and that nothing has happened by then."""

import importlib.util
import pathlib

import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import datasets
from experiments.cli import UserError
from experiments.training import flags as train_flags
from experiments.training.settings import checked_settings

PRESETS = pathlib.Path(train_flags.__file__).parents[1] / "presets"


def settings(*arguments):
    with flagsaver.flagsaver():
        flags.FLAGS(["train", *arguments])
        return checked_settings()


def refusal(*arguments):
    with pytest.raises(UserError) as caught:
        settings(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--imbalance_factor=50"], "use 1/50 = 0.02"),
        (["--imbalance_factor=0"], "must be in (0, 1], got 0.0"),
        (["--imbalance_factor=nan"], "must be in (0, 1], got nan"),
        (["--depth=33"], "`depth` must be 6n + 2 (8, 14, 20, 26, 32, ...), got 33"),
        (["--depth=2"], "`depth` must be 6n + 2"),
        (["--gamma=2"], "--gamma=2.0 has no effect on --loss=softmax"),
        (["--loss=sigmoid", "--gamma=0.5"], "has no effect on --loss=sigmoid"),
        (["--loss=focal", "--gamma=-1"], "`gamma` must be a finite number >= 0, got -1"),
        (["--loss=focal", "--gamma=inf"], "`gamma` must be a finite number >= 0, got inf"),
        (["--cb_power=nan"], "`power` must be finite, got nan"),
        (["--cb_power=inf"], "`power` must be finite, got inf"),
        (
            ["--ramp_start=1"],
            "--ramp_start=1.0 has no effect on --loss=softmax; it belongs to --me",
        ),
        (["--method=power_ramp", "--ramp_start=nan"], "`power` must be finite, got nan"),
        (
            ["--method=balanced_softmax", "--cb_normalize=examples"],
            "--cb_normalize=examples has no effect on --method=balanced_softmax",
        ),
        (["--cb_beta=1.5"], "`beta` must be in [0, 1], got 1.5"),
        (["--cb_beta=-0.1"], "`beta` must be in [0, 1], got -0.1"),
        (["--cb_beta=nan"], "`beta` must be in [0, 1], got nan"),
        (["--sampler=rare"], "`sampler` must be one of uniform, square_root, class_balanced, prog"),
        (["--sampler=power:inf"], "P a finite number such as 0.5, got 'power:inf'"),
        (["--dataset=cifra10"], "unknown data set 'cifra10'; use cifar10, cifar100, digits"),
        (["--dataset=tfds:"], "unknown data set 'tfds:'"),
        (["--dataset=tfds:../x"], "unknown data set 'tfds:../x'"),
        (["--train_epochs=0"], "--train_epochs must be at least 1, got 0"),
        (["--eval_epochs=0"], "--eval_epochs must be at least 1, got 0"),
        (["--batch_size=0"], "--batch_size must be at least 1, got 0"),
        (["--eval_batch_size=-1"], "--eval_batch_size must be at least 1, got -1"),
        (
            ["--learning_rate=0"],
            "`learning_rate` must be a finite number > 0, got 0.0",
        ),
        (
            ["--learning_rate=nan"],
            "`learning_rate` must be a finite number > 0, got nan",
        ),
        (["--lr_decay=0"], "`lr_decay` must be a finite number > 0"),
        (
            ["--balanced_lr_decay=-1"],
            "`balanced_lr_decay` must be a finite number > 0",
        ),
        (["--momentum=1"], "`momentum` must be in [0, 1), got 1.0"),
        (["--weight_decay=-1"], "`weight_decay` must be a finite number >= 0"),
        (
            ["--weight_decay=inf"],
            "`weight_decay` must be a finite number >= 0, got inf",
        ),
        (
            ["--validation_fraction=1"],
            "--validation_fraction must be in [0, 1), such as 0.1; got 1.",
        ),
        (["--seed=-1"], "--seed must be in [0, 2^31), got -1"),
        (["--seed=2147483648"], "--seed must be in [0, 2^31)"),
        (
            ["--lr_schedule=cosine", "--lr_decay=0.1"],
            "--lr_decay has no effect with --lr_schedule=cosine, whose rate has no steps",
        ),
        (["--lr_schedule=cosine", "--warmup_epochs=200"], "does not end before the run does"),
        (["--warmup_epochs=-1"], "--warmup_epochs must be a finite number >= 0"),
        (["--warmup_epochs=nan"], "--warmup_epochs must be a finite number >= 0"),
        (["--warmup_epochs=161"], "does not end before the first of --lr_boundaries, epoch 160"),
        (["--warmup_epochs=200", "--lr_boundaries="], "does not end before the run does"),
        (["--lr_boundaries=0.9,0.8"], "ascending fractions of the run in (0, 1)"),
        (["--lr_boundaries=160,180"], "such as 0.8,0.9; got 160,180"),
        (["--lr_boundaries=0.5,half"], "got 0.5,half"),
        (["--lr_boundaries=0"], "ascending fractions of the run in (0, 1)"),
        (["--exports=onnx,saved_model"], "--exports=onnx is unknown; there are saved_model."),
        (
            ["--exports="],
            "--exports must hold saved_model, which the figures of",
        ),
        (
            ["--long_tail=natural", "--imbalance_factor=0.1"],
            "--imbalance_factor has no effect with --long_tail=natural",
        ),
        (
            ["--long_tail=natural", "--long_tail_seed=1"],
            "--long_tail_seed has no effect with --long_tail=natural; leave one of them out.",
        ),
        (["--long_tail_seed=-1"], "--long_tail_seed must be in [0, 2^31), got -1."),
    ],
)
def test_a_wrong_value_is_refused_with_the_flag_the_value_and_the_remedy(arguments, words):
    message = refusal(*arguments)
    assert words in message
    assert "\n" not in message  # one mistake, one line


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--imbalance_factor=1"],
        ["--cb_beta=0", "--cb_power=-1"],
        ["--cb_beta=1"],
        ["--loss=focal", "--gamma=0"],
        ["--warmup_epochs=160"],
        ["--warmup_epochs=0", "--lr_boundaries="],
        ["--long_tail=natural"],
        ["--dataset=tfds:mnist"],
        ["--dataset=tfds:svhn_cropped/plain.text:3.1.0"],
        ["--seed=2147483647"],
        ["--momentum=0", "--weight_decay=0"],
    ],
)
def test_the_ends_of_the_ranges_are_allowed(arguments):
    settings(*arguments)


def test_all_mistakes_are_told_at_once():
    message = refusal(
        *("--depth=33", "--cb_power=nan", "--cb_beta=1.5", "--gamma=2", "--batch_size=0"),
        *("--warmup_epochs=170", "--dataset=nothing", "--imbalance_factor=50"),
    )
    for word in ("--depth", "--cb_power", "--cb_beta", "--gamma", "--batch_size"):
        assert word in message
    for word in ("--warmup_epochs", "--dataset", "--imbalance_factor"):
        assert word in message
    assert len(message.splitlines()) == 8


def test_flags_are_checked_before_data_is_loaded_or_a_folder_made(
    call_train, monkeypatch, tmp_path
):
    monkeypatch.setattr(datasets, "load", lambda *_: pytest.fail("data was loaded"))
    folder = tmp_path / "run"
    with pytest.raises(UserError, match="--depth"):
        call_train("--depth=33", f"--output_dir={folder}")
    assert not folder.exists()


def test_plots_without_matplotlib_are_refused_before_the_training(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "matplotlib" else find_spec(name, *rest),
    )
    message = refusal("--plots=true")
    assert "pip install 'cb_keras[plots]'" in message
    assert "--plots=false" in message
    settings("--plots=false")


@pytest.mark.parametrize("preset", ["park2022", "cui2019", "cpu", "digits"])
def test_every_preset_can_be_trained_on_data_with_its_natural_tail(preset):
    flagfile = PRESETS / f"{preset}.flags"
    assert settings(f"--flagfile={flagfile}", "--long_tail=natural")["long_tail"] == "natural"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--dataset=cifar100"], "exponential"),
        (["--dataset=digits"], "exponential"),
        (["--dataset=tfds:mine"], "natural"),
        (["--dataset=tfds:mine", "--imbalance_factor=0.02"], "exponential"),  # the default, but
        (["--dataset=tfds:mine", "--flagfile=factor.flags"], "exponential"),  # it was given
        (["--dataset=tfds:mine", "--long_tail=exponential"], "exponential"),
        (["--flagfile=preset", "--dataset=tfds:mine"], "natural"),
        (["--flagfile=preset", "--dataset=tfds:mine", "--imbalance_factor=1"], "exponential"),
    ],
)
def test_data_of_ones_own_are_cut_only_where_a_factor_is_given(
    arguments, expected, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "factor.flags").write_text("--imbalance_factor=0.1\n")
    (tmp_path / "preset").write_text((PRESETS / "cpu.flags").read_text())
    found = settings(*arguments)
    assert found["long_tail"] == expected
    assert ("_natural_" in found["output_dir"]) == (expected == "natural")
    # The processes of a sweep get the same from their command lines.
    assert settings(*train_flags.command_line(found)) == found


def test_the_boundaries_are_numbers():
    assert settings("--lr_boundaries=0.25,0.5")["lr_boundaries"] == [0.25, 0.5]
    assert settings("--lr_boundaries=")["lr_boundaries"] == []


def test_the_default_folder_is_named_after_what_makes_the_run():
    names = {
        settings(*arguments)["output_dir"]
        for arguments in (
            [],
            ["--loss=sigmoid"],
            ["--loss=focal"],
            ["--loss=focal", "--gamma=2"],
            ["--dataset=cifar100"],
            ["--dataset=tfds:a/b:1.0.0"],
            ["--imbalance_factor=0.1"],
            ["--long_tail=natural"],
            ["--cb_power=0.5"],
            ["--cb_beta=0.99"],
            ["--train_epochs=30"],
            ["--seed=1"],
        )
    }
    assert len(names) == 12
    assert all(name.startswith("runs/") and name.count("/") == 1 for name in names)
    assert "runs/cifar10_factor0.02_softmax_power1_beta0.9999_epochs200_seed0" in names


def test_where_a_run_lives_and_how_it_is_drawn_do_not_make_another_run():
    a = settings("--output_dir=a", "--data_dir=a", "--plots=false", "--resume", "--download")
    b = settings("--output_dir=b")
    assert train_flags.recorded(a) == train_flags.recorded(b)
    assert train_flags.recorded(a) != train_flags.recorded(settings("--momentum=0.8"))
