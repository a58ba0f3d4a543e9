"""The figures of `metrics.json`, and which class weights they are measured with."""

import json
import pathlib

import numpy as np
import pytest

from experiments.exports import evaluation

COUNTS = [200, 50, 5]
WEIGHTS = [0.25, 0.5, 2.25]
SETTINGS = {"loss": "softmax", "cb_beta": 0.99, "cb_power": 0.5, "gamma": 1.0}
DESCRIPTION = {
    "settings": SETTINGS,
    "class_counts": COUNTS,
    "class_weights": WEIGHTS,
    "epochs": 7,
    "train_seconds": 3.5,
    "images_per_second": 900.0,
}


def weights(beta, power):
    """Cui et al. 2019 equation 4 under a power, in plain numpy."""
    number = (1 - beta ** np.array(COUNTS, "float64")) / (1 - beta)
    raw = number**-power
    return len(COUNTS) * raw / raw.sum()


def test_the_figures_are_those_done_by_hand():
    labels = np.array([0, 0, 1, 1, 1, 1])
    classes = np.array([0, 1, 1, 1, 1, 2])
    logits = np.zeros((6, 3), "float32")
    about = {"class_names": list("abc"), "class_counts": COUNTS, "test": {}}
    answers = evaluation.predictions_of(labels, classes, logits, SETTINGS, about)
    figures = evaluation.of_predictions(answers, DESCRIPTION)
    assert figures["accuracy"] == pytest.approx(4 / 6)
    assert figures["per_class_accuracy"] == [0.5, 0.75, None]  # no image of class 2
    assert figures["balanced_accuracy"] == pytest.approx((0.5 + 0.75) / 2)
    assert figures["many_accuracy"] == 0.5
    assert figures["medium_accuracy"] == 0.75
    assert figures["few_accuracy"] is None
    assert figures["confusion_matrix"] == [[1, 1, 0], [0, 3, 1], [0, 0, 0]]
    # Equal logits: cross-entropy log 3 for every image, times the weight that is recorded, which
    # is not the one that beta and power give, over the 6 images.
    expected = np.log(3) * (2 * WEIGHTS[0] + 4 * WEIGHTS[1]) / 6
    assert figures["loss"] == pytest.approx(expected, rel=1e-6)
    assert (figures["epochs"], figures["train_seconds"]) == (7, 3.5)
    assert figures["images_per_second"] == 900.0


OLDER = {name: value for name, value in DESCRIPTION.items() if name != "class_weights"}


def config(**changes):
    """A `config.json` next to the SavedModel."""
    flags = {"loss": "softmax", "dataset": "digits", "cb_power": 0.5, "gamma": 1.0, "seed": 0}
    flags |= {"imbalance_factor": 0.02, "cb_beta": 0.99}
    names = ["a", "b", "c"]
    right = {"flags": flags, "class_counts": COUNTS, "class_weights": WEIGHTS, "class_names": names}
    return json.dumps({**right, **changes})


def test_the_class_weights_are_those_of_the_description(capsys):
    found = evaluation.with_class_weights(DESCRIPTION, pathlib.Path("nowhere"))
    assert found == DESCRIPTION
    assert capsys.readouterr().out == ""


def test_an_older_saved_model_has_the_class_weights_of_the_config_next_to_it(tmp_path, capsys):
    (tmp_path / "config.json").write_text(config())
    folder = tmp_path / "saved_model"
    assert evaluation.with_class_weights(OLDER, folder) == DESCRIPTION
    expected = f"no class weights are recorded in {folder}: those of {tmp_path / 'config.json'} are"
    assert capsys.readouterr().out.startswith(expected)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "config.json is missing"),
        ("{", "config.json is not valid JSON"),
        (config(class_counts=[5, 5, 5]), "it is of other class counts"),
    ],
)
def test_without_a_record_the_class_weights_follow_from_beta_and_power_and_a_line_says_so(
    tmp_path, capsys, content, reason
):
    if content:
        (tmp_path / "config.json").write_text(content)
    found = evaluation.with_class_weights(OLDER, tmp_path / "saved_model")
    np.testing.assert_allclose(found["class_weights"], weights(0.99, 0.5), rtol=1e-6)
    printed = capsys.readouterr().out
    assert (
        "they are computed from the class counts, with --cb_power=0.5 and --cb_beta=0.99" in printed
    )
    assert reason in printed
