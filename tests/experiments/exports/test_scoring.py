"""The figures of `metrics.json` and the table that programs print."""

import keras
import numpy as np
import pytest

import cb_keras
from experiments.exports import scoring

COUNTS = [200, 50, 5]
SETTINGS = {"loss": "softmax", "cb_beta": 0.99, "cb_power": 1.0, "gamma": 1.0}
ABOUT = {
    "settings": SETTINGS,
    "class_counts": COUNTS,
    "epochs": 7,
    "train_seconds": 3.5,
    "images_per_second": 900.0,
}


def weights(beta, power):
    """Cui et al. 2019 equation 4 under a power, in plain numpy."""
    number = (1 - beta ** np.array(COUNTS, "float64")) / (1 - beta)
    raw = number**-power
    return len(COUNTS) * raw / raw.sum()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("softmax", cb_keras.losses.ClassBalancedSoftmaxCrossentropy),
        ("sigmoid", cb_keras.losses.ClassBalancedSigmoidCrossentropy),
        ("focal", cb_keras.losses.ClassBalancedFocalCrossentropy),
    ],
)
def test_the_loss_is_the_one_that_the_settings_name(name, expected):
    settings = {"loss": name, "cb_beta": 0.9, "cb_power": 0.5, "gamma": 2.0}
    loss = scoring.make_loss(settings, COUNTS)
    assert type(loss) is expected
    class_weights = keras.ops.convert_to_numpy(loss.class_weights)
    np.testing.assert_allclose(class_weights, weights(0.9, 0.5), rtol=1e-6)
    assert getattr(loss, "gamma", 2.0) == 2.0


def test_the_figures_are_those_done_by_hand():
    labels = np.array([0, 0, 1, 1, 1, 1])
    classes = np.array([0, 1, 1, 1, 1, 2])
    logits = np.zeros((6, 3), "float32")
    figures = scoring.score(labels, classes, logits, ABOUT)
    assert figures["accuracy"] == pytest.approx(4 / 6)
    assert figures["per_class_accuracy"] == [0.5, 0.75, None]  # no image of class 2
    assert figures["balanced_accuracy"] == pytest.approx((0.5 + 0.75) / 2)
    assert figures["many_accuracy"] == 0.5
    assert figures["medium_accuracy"] == 0.75
    assert figures["few_accuracy"] is None
    assert figures["confusion_matrix"] == [[1, 1, 0], [0, 3, 1], [0, 0, 0]]
    # Equal logits: cross-entropy log 3 for every image, times its weight, over the 6 images.
    w = weights(0.99, 1.0)
    assert figures["loss"] == pytest.approx(np.log(3) * (2 * w[0] + 4 * w[1]) / 6, rel=1e-6)
    assert (figures["epochs"], figures["train_seconds"]) == (7, 3.5)
    assert figures["images_per_second"] == 900.0


def lines(per_class, names=("cat", "dog", "a very long name"), **groups):
    figures = {
        "per_class_accuracy": per_class,
        **{"accuracy": 0.5, "balanced_accuracy": 0.25, "many_accuracy": 0.125},
        **{"medium_accuracy": 0.0625, "few_accuracy": None, **groups},
    }
    return list(scoring.table(figures, COUNTS, [0.1, 0.9, 2.0], names))


def test_the_table_has_count_weight_and_accuracy_of_every_class():
    table = lines([1.0, 0.25, None])
    assert table[0].split() == ["class", "train", "images", "weight", "accuracy"]
    assert table[1].split() == ["cat", "200", "0.1000", "1.0000"]
    assert table[2].split() == ["dog", "50", "0.9000", "0.2500"]
    assert table[3].split() == ["a", "very", "long", "name", "5", "2.0000", "-"]
    assert len({len(line) for line in table[:4]}) == 1  # columns are aligned
    assert [line.split()[-1] for line in table[5:]] == [
        "0.5000",
        "0.2500",
        "0.1250",
        "0.0625",
        "-",
    ]


def test_the_table_names_its_summary_figures():
    assert [" ".join(line.split()[:-1]) for line in lines([1.0, 0.25, None])[5:]] == [
        "accuracy",
        "balanced accuracy",
        "many accuracy",
        "medium accuracy",
        "few accuracy",
    ]


def test_a_table_of_one_class_can_be_printed():
    figures = {"per_class_accuracy": [1.0], "accuracy": 1.0, "balanced_accuracy": 1.0}
    figures |= {"many_accuracy": None, "medium_accuracy": 1.0, "few_accuracy": None}
    assert list(scoring.table(figures, [50], [1.0], ["it"]))[1].split()[0] == "it"


def test_shot_figures_of_a_file_with_integers_beyond_those_of_numpy_are_computed():
    config = {"class_counts": [10**250, 30, 30], "shot_rule": "thirds"}
    figures = {"confusion_matrix": [[10**50, 0, 0], [1, 1, 0], [0, 3, 1]], "few_accuracy": 0.25}
    found, there, today = scoring.with_todays_shot_groups(config, figures)
    assert (there, today) == ("thirds", "moved_thirds")
    assert [found[f"{g}_accuracy"] for g in ("many", "medium", "few")] == [1.0, None, 0.375]
