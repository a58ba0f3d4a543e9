"""Every method trains on digits, continues to the same bits, exports, and is evaluated the same."""

import csv
import json

import numpy as np
import pytest
from scipy.special import log_softmax

import cb_keras
from experiments import methods
from experiments.runs import files
from tests.experiments.training.cases import stopped_after

FOUR = ("--train_epochs=4", "--eval_epochs=2", "--augmentation=none")
# Second stages have a file of their own.
OTHERS = [
    name
    for name, method in methods.METHODS.items()
    if name != methods.DEFAULT and not method.second_stage
]


def flags_of(name):
    drw = ("--drw_start=0.5",) if name.endswith("_drw") else ()
    return (*FOUR, f"--method={name}", "--loss=softmax", *drw)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_a_method_trains_continues_and_is_evaluated_on_digits(
    name, train_short, call_evaluate, tmp_path
):
    flags = flags_of(name)
    whole = train_short(tmp_path / "whole", *flags)
    stopped_after(3, train_short, tmp_path / "stopped", *flags)
    continued = train_short(tmp_path / "stopped", *flags, "--resume")

    def numbers(run):
        with open(run.folder / "history.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        return [{k: v for k, v in r.items() if "second" not in k} for r in rows]

    assert numbers(whole) == numbers(continued)
    assert len(numbers(whole)) == 4
    config = files.read_config(whole.folder / "config.json")
    metrics = json.loads((whole.folder / "metrics.json").read_text())
    again = json.loads((continued.folder / "metrics.json").read_text())
    assert metrics["confusion_matrix"] == again["confusion_matrix"]

    output, predictions = tmp_path / "evaluated.json", tmp_path / "predictions.npz"
    call_evaluate(
        f"--saved_model={whole.folder / 'saved_model'}",
        "--dataset=digits",
        f"--output={output}",
        f"--predictions={predictions}",
    )
    evaluated = json.loads(output.read_text())
    for figure in ("accuracy", "few_accuracy", "loss", "ece", "nll"):
        assert evaluated[figure] == pytest.approx(metrics[figure], rel=1e-6)
    found = np.load(predictions)
    settings = config["flags"]
    scale = settings["scale"] if methods.get(name).head(settings) == "cosine" else 1.0
    log_p = log_softmax(scale * found["logits"].astype("float64"), axis=-1)
    np.testing.assert_allclose(found["probabilities"], np.exp(log_p), rtol=1e-5, atol=1e-9)
    nll = -log_p[np.arange(len(log_p)), found["labels"]].mean()
    assert metrics["nll"] == pytest.approx(nll, rel=1e-5)


@pytest.mark.slow
def test_a_ramp_of_powers_has_the_weights_of_its_power_in_every_epoch(train_short, tmp_path):
    """The first ones are equal, the last ones, which are recorded, the class-balanced ones."""
    flags = (*FOUR, "--loss=softmax")
    plain = train_short(tmp_path / "plain", *flags, "--cb_power=0")
    ramp = train_short(tmp_path / "ramp", *flags, "--method=power_ramp", "--ramp_shape=step")
    assert plain.column("loss")[:2] == ramp.column("loss")[:2]
    assert plain.column("loss")[2:] != ramp.column("loss")[2:]
    counts = np.array(ramp.config["class_counts"], "float64")
    raw = (1 - 0.9999) / (1 - 0.9999**counts)
    np.testing.assert_allclose(ramp.config["class_weights"], 10 * raw / raw.sum(), rtol=1e-5)


@pytest.mark.slow
def test_difficulty_has_class_balanced_weights_in_the_first_epoch_and_others_after_it(
    train_short, tmp_path
):
    """The recorded ones, by which the run is measured, are those it begins with."""
    flags = (*FOUR, "--loss=softmax", "--cb_power=0.5")
    plain = train_short(tmp_path / "plain", *flags)
    own = train_short(tmp_path / "own", *flags, "--method=difficulty", "--difficulty_power=2")
    assert plain.column("loss")[0] == own.column("loss")[0]
    assert plain.column("loss")[1] != own.column("loss")[1]
    assert plain.config["class_weights"] == own.config["class_weights"]


@pytest.mark.slow
def test_class_volume_continues_with_the_volumes_that_it_recorded(
    train_short, tmp_path, monkeypatch
):
    flags = (*FOUR, "--loss=softmax", "--method=class_volume")
    whole = train_short(tmp_path / "whole", *flags)
    stopped_after(3, train_short, tmp_path / "stopped", *flags)
    monkeypatch.setattr(cb_keras, "class_volumes", lambda *_: pytest.fail("measured again"))
    continued = train_short(tmp_path / "stopped", *flags, "--resume")
    for name in ("class_volumes", "class_weights"):
        assert continued.config[name] == whole.config[name]
    assert continued.column("loss") == whole.column("loss")
    counts, volumes = (np.array(whole.config[f"class_{x}"]) for x in ("counts", "volumes"))
    raw = 1 / (volumes * (1 - (1 - 1 / volumes) ** counts))
    np.testing.assert_allclose(whole.config["class_weights"], 10 * raw / raw.sum(), rtol=1e-5)


@pytest.mark.slow
def test_deferred_weights_change_nothing_before_they_come_in(train_short, tmp_path):
    flags = (*FOUR, "--loss=softmax")
    plain = train_short(tmp_path / "plain", *flags, "--cb_power=0")
    late = train_short(tmp_path / "late", *flags, "--method=cb_drw", "--drw_start=0.5")
    losses = []
    for run in (plain, late):
        with open(run.folder / "history.csv", newline="") as file:
            losses.append([row["loss"] for row in csv.DictReader(file)])
    assert losses[0][:2] == losses[1][:2]
    assert losses[0][2:] != losses[1][2:]
