"""Pictures: drawn from the files of a run, and not blank."""

import itertools
import json
import shutil

import matplotlib.image
import numpy as np
import pytest

from experiments import plots
from experiments.cli import UserError
from tests.experiments.report_folders import write_run

NAMES = {"class_counts", "curves", "per_class_accuracy", "confusion_matrix"}
WITHOUT_TENSORFLOW = """
import runpy
import sys

for name in ("tensorflow", "keras", "cb_keras"):
    sys.modules[name] = None  # importing it fails
runpy.run_module("experiments.plots", run_name="__main__", alter_sys=True)
"""


def assert_drawn(path):
    """The picture is readable, and a good part of it is neither white nor one colour."""
    pixels = matplotlib.image.imread(path)[..., :3]
    assert min(pixels.shape[:2]) > 300
    assert (pixels.min(axis=-1) < 0.95).mean() > 0.01
    assert len(np.unique(np.round(pixels.reshape(-1, 3), 1), axis=0)) > 5


def copy(run, folder, *names):
    folder.mkdir()
    for name in names or ("config.json", "history.csv", "metrics.json"):
        shutil.copy(run.folder / name, folder)
    return folder


def change(folder, name, **values):
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**content, **values}))


def test_the_trainer_draws_four_pictures(digits_run):
    pictures = list((digits_run.folder / "plots").iterdir())
    assert {path.name for path in pictures} == {f"{name}.png" for name in NAMES}
    for path in pictures:
        assert_drawn(path)


def test_pictures_are_made_again_from_three_files_without_tensorflow(
    digits_run, run_python, tmp_path
):
    folder = copy(digits_run, tmp_path / "run")
    done = run_python("-c", WITHOUT_TENSORFLOW, f"--run={folder}")
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    assert sorted(printed) == sorted(str(folder / "plots" / f"{name}.png") for name in NAMES)
    for name in NAMES:
        again = matplotlib.image.imread(folder / "plots" / f"{name}.png")
        first = matplotlib.image.imread(digits_run.folder / "plots" / f"{name}.png")
        np.testing.assert_array_equal(again, first)


def test_a_folder_without_a_finished_run_is_told_in_one_line(run_python, tmp_path):
    done = run_python("-m", "experiments.plots", f"--run={tmp_path}")
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path} holds no finished run (no config.json).\n"


def test_accuracies_that_were_not_measured_leave_gaps(digits_run, tmp_path):
    folder = copy(digits_run, tmp_path / "run")
    accuracies = [None, *digits_run.metrics["per_class_accuracy"][1:-1], None]
    change(folder, "metrics.json", per_class_accuracy=accuracies)
    for path in plots.draw_all(folder):
        assert_drawn(path)


def test_a_history_without_evaluations_can_be_drawn(digits_run, tmp_path):
    folder = copy(digits_run, tmp_path / "run")
    header, first, *_ = (folder / "history.csv").read_text().splitlines()
    (folder / "history.csv").write_text(f"{header}\n{first}\n")
    for path in plots.draw_all(folder):
        assert path.stat().st_size > 1000


def test_a_run_as_a_report_needs_it_can_be_drawn(tmp_path):
    assert len(plots.draw_all(write_run(tmp_path / "run"))) == len(NAMES)


@pytest.mark.parametrize("content", [None, "epoch,loss\none,1\n"])
def test_a_run_without_a_readable_history_is_told_in_one_line(digits_run, tmp_path, content):
    folder = copy(digits_run, tmp_path / "run", "config.json", "metrics.json")
    if content:
        (folder / "history.csv").write_text(content)
    with pytest.raises(UserError, match=r"history.csv .*; there are no learning curves to draw"):
        plots.draw_all(folder)


@pytest.mark.parametrize("classes", [2, 100])
def test_few_and_many_classes_can_be_drawn(digits_run, tmp_path, classes):
    folder = copy(digits_run, tmp_path / "run")
    ids = list(range(classes))
    rng = np.random.default_rng(0)
    change(
        folder,
        "config.json",
        class_counts=[500 - c for c in ids],
        class_weights=[1.0 + c / classes for c in ids],
        class_names=[f"class number {c}" for c in ids],
        shot_groups={"many": ids[:1], "medium": [], "few": ids[1:]},
    )
    change(
        folder,
        "metrics.json",
        per_class_accuracy=rng.random(classes).tolist(),
        confusion_matrix=rng.integers(0, 100, (classes, classes)).tolist(),
    )
    for path in plots.draw_all(folder):
        assert_drawn(path)


def test_runs_are_compared_in_one_picture(digits_run, tmp_path):
    other = copy(digits_run, tmp_path / "other")
    change(other, "metrics.json", per_class_accuracy=[None] + [0.5] * 9, balanced_accuracy=0.5)
    picture = tmp_path / "comparison.png"
    plots.draw_comparison({"plain": [other], "balanced": [digits_run.folder]}, picture)
    assert_drawn(picture)
    single = tmp_path / "single.png"
    plots.draw_comparison({"plain": [other]}, single)
    assert_drawn(single)
    seeds = tmp_path / "seeds.png"
    plots.draw_comparison({"plain": [other, digits_run.folder]}, seeds)
    assert_drawn(seeds)
    pixels = [matplotlib.image.imread(path) for path in (picture, single, seeds)]
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(pixels, 2))


def test_the_curves_hold_the_numbers_of_the_history(digits_run):
    history = plots._history(digits_run.folder / "history.csv")
    figure = plots._curves(history, digits_run.config)
    losses, accuracies, rates = figure.axes
    drawn = {line.get_label(): line for line in losses.lines}
    assert list(drawn["training"].get_ydata()) == digits_run.column("loss")
    drawn = {line.get_label(): line for line in accuracies.lines}
    assert list(drawn["test"].get_xdata()) == [3, 6, 9]  # --eval_epochs=3
    expected = [float(row["val_accuracy"]) for row in digits_run.history if row["val_accuracy"]]
    assert list(drawn["test"].get_ydata()) == expected
    assert list(rates.lines[0].get_ydata()) == digits_run.column("learning_rate")


def test_the_bars_are_the_counts_weights_and_accuracies(digits_run):
    config, metrics = digits_run.config, digits_run.metrics
    counts, weights = plots._class_counts(config).axes
    assert [bar.get_height() for bar in counts.patches] == config["class_counts"]
    assert [bar.get_height() for bar in weights.patches] == config["class_weights"]
    (accuracies,) = plots._per_class_accuracy(config, metrics).axes
    assert [bar.get_height() for bar in accuracies.patches] == metrics["per_class_accuracy"]


def test_the_confusion_matrix_is_shown_as_shares_of_the_true_class(digits_run):
    axes = plots._confusion_matrix(digits_run.config, digits_run.metrics).axes[0]
    expected = np.array(digits_run.metrics["confusion_matrix"]) / 50  # 50 test images a class
    np.testing.assert_allclose(axes.images[0].get_array(), expected)
    assert axes.get_ylabel() == "true class"
    assert axes.get_xlabel() == "predicted class"
