"""The presets against the protocol: facts of the official code and of Park & Hwang 2022."""

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from experiments.training import protocol
from experiments.training.settings import checked_settings
from tests.experiments.cases import ROOT

FOLDER = ROOT / "experiments" / "presets"
PRESETS = ["park2022", "cui2019", "cpu", "digits", "images", "strong", "second_stage"]


def settings(preset, *arguments):
    with flagsaver.flagsaver():
        flags.FLAGS(["train", f"--flagfile={FOLDER / preset}.flags", *arguments])
        return checked_settings()


def defaults():
    with flagsaver.flagsaver():
        flags.FLAGS(["train"])
        return checked_settings()


def rates(settings, epochs, steps=88, balanced=False):
    """Rates at the first step of these epochs (fractions allowed), as training makes them."""
    decay = settings["lr_decay"]
    if balanced and settings["balanced_lr_decay"] is not None:
        decay = settings["balanced_lr_decay"]
    schedule = protocol.make_schedule(settings, {"steps_per_epoch": steps, "lr_decay": decay})
    return [float(schedule(round(epoch * steps))) for epoch in epochs]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_passes_the_checks_of_the_flags(preset):
    settings(preset)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_command_line_overrides_a_preset(preset):
    assert settings(preset, "--train_epochs=77")["train_epochs"] == 77


def test_park2022_is_the_protocol_and_the_default():
    # Park & Hwang 2022 and the official long-tail script of Cui et al. 2019.
    protocol = {
        **{"dataset": "cifar10", "long_tail": "exponential", "imbalance_factor": 0.02},
        **{"cb_power": 1.0, "cb_beta": 0.9999, "gamma": 1.0},
        **{"train_epochs": 200, "eval_epochs": 2, "batch_size": 128, "eval_batch_size": 100},
        **{"learning_rate": 0.1, "warmup_epochs": 5, "lr_boundaries": [0.8, 0.9]},
        **{"lr_decay": 0.01, "balanced_lr_decay": None, "momentum": 0.9, "weight_decay": 2e-4},
        **{"depth": 32, "augmentation": "auto", "seed": 0, "precision": "float32"},
        **{"strategy": "none", "resume": False, "download": False},
    }
    park = settings("park2022")
    assert {name: park[name] for name in protocol} == protocol
    assert park == defaults()


def test_the_rates_of_park2022_are_those_of_the_protocol():
    # Rate 0.1 after 5 epochs of warm-up from 0, times 0.01 at epochs 160 and 180 of 200.
    just_before = 1 - 1 / 88
    epochs = [0, 2.5, 5, 100, 159 + just_before, 160, 179 + just_before, 180, 199 + just_before]
    expected = [0, 0.05, 0.1, 0.1, 0.1, 1e-3, 1e-3, 1e-5, 1e-5]
    np.testing.assert_allclose(rates(settings("park2022"), epochs), expected, rtol=1e-6)


def test_cui2019_drops_by_a_hundredth_on_long_tails_and_by_a_tenth_on_balanced_data():
    preset = settings("cui2019")
    epochs = [100, 160, 180]
    np.testing.assert_allclose(rates(preset, epochs), [0.1, 1e-3, 1e-5], rtol=1e-6)
    np.testing.assert_allclose(rates(preset, epochs, balanced=True), [0.1, 1e-2, 1e-3], rtol=1e-6)
    assert {**preset, "balanced_lr_decay": None, "output_dir": ""} == {
        **defaults(),
        "output_dir": "",
    }


@pytest.mark.parametrize(("counts", "decay"), [([50, 50], 0.1), ([50, 10], 0.01)])
def test_the_trainer_itself_chooses_the_decay_by_the_counts(counts, decay):
    resolved = protocol.resolve(settings("cui2019"), AnyData, np.array(counts))
    assert resolved["lr_decay"] == decay
    assert protocol.resolve(settings("park2022"), AnyData, np.array(counts))["lr_decay"] == 0.01


class AnyData:
    augmentation = "crop_flip"


def test_cpu_is_park2022_in_30_epochs_with_a_gentler_drop_at_the_same_fractions_of_the_run():
    cpu, park = settings("cpu"), settings("park2022")
    differs = {name for name in park if cpu[name] != park[name]}
    own = {"train_epochs", "eval_epochs", "warmup_epochs", "lr_decay", "precision", "output_dir"}
    assert differs == own
    assert (cpu["train_epochs"], cpu["eval_epochs"], cpu["lr_decay"]) == (30, 5, 0.1)
    assert cpu["precision"] == "mixed_bfloat16"
    fractions = np.array([0, 0.0125, 0.025, 0.5, 0.799, 0.8, 0.899, 0.9, 0.999])
    as_in_park = rates({**cpu, "lr_decay": 0.01}, fractions * 30, steps=4000)
    np.testing.assert_allclose(as_in_park, rates(park, fractions * 200, steps=4000), rtol=1e-3)


def test_digits_is_the_protocol_on_the_handwritten_digits():
    digits, park = settings("digits"), settings("park2022")
    assert digits["dataset"] == "digits"
    for name in ("imbalance_factor", "learning_rate", "lr_boundaries", "lr_decay", "momentum"):
        assert digits[name] == park[name]
    for name in ("weight_decay", "loss", "cb_beta", "cb_power", "precision"):
        assert digits[name] == park[name]
