"""Images held out of the training: watched during it, measured at its end, next to the test set."""

import numpy as np
import pytest

from experiments.runs import schema
from experiments.runs.files import DamagedError, read_config, read_metrics

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(train_short, tmp_path_factory):
    """Two epochs on digits, a quarter of the training images held out. Read only."""
    folder = tmp_path_factory.mktemp("validation") / "run"
    return train_short(folder, "--validation_fraction=0.25")


def test_the_images_are_held_out_of_the_tail(run):
    # Cui's profile of 124 images at 0.02: 124 80 51 33 21 14 9 5 3 2; three quarters stay.
    held_out = [31, 20, 13, 8, 5, 4, 2, 1, 1, 1]
    assert run.config["class_counts"] == [93, 60, 38, 25, 16, 10, 7, 4, 2, 1]
    confusion = np.array(run.metrics["validation"]["confusion_matrix"])
    assert confusion.sum(axis=1).tolist() == held_out
    assert np.array(run.metrics["confusion_matrix"]).sum(axis=1).tolist() == [50] * 10
    assert run.metrics["split"] == "test"


def test_they_are_evaluated_during_the_training_in_place_of_the_test_set(run):
    last = run.history[-1]
    validation = run.metrics["validation"]
    for name in ("accuracy", "balanced_accuracy"):
        assert float(last[f"val_{name}"]) == pytest.approx(validation[name], abs=1e-6)
    assert float(last["val_accuracy"]) != pytest.approx(run.metrics["accuracy"], abs=1e-6)


def test_readers_find_the_figure_to_choose_by_and_check_it(run, tmp_path):
    config = read_config(run.folder / "config.json")
    metrics = read_metrics(run.folder / "metrics.json", config)
    expected = metrics["validation"]["balanced_accuracy"]
    assert metrics["validation_balanced_accuracy"] == expected
    low, high = metrics["validation_interval"]
    assert [low, high] == metrics["validation"]["intervals"]["balanced_accuracy"]
    assert low < expected < high
    metrics["validation"]["accuracy"] = 0.123
    with pytest.raises(DamagedError, match=r"`accuracy` is 0\.123, but .*, in `validation`"):
        schema.check_metrics(metrics, config)


def test_a_run_without_them_has_no_such_figures(short_run):
    assert not {"split", "validation"} & set(short_run.metrics)
    config = read_config(short_run.folder / "config.json")
    metrics = read_metrics(short_run.folder / "metrics.json", config)
    assert metrics["validation_balanced_accuracy"] is metrics["validation_interval"] is None
