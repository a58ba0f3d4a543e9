"""Pictures: drawn from the files of a run, and not blank."""

import itertools
import json
import shutil
import warnings

import matplotlib.image
import numpy as np
import pytest

from cb_keras import metrics
from experiments.cli import UserError
from experiments.reporting import drawing, pictures
from experiments.runs import directory
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
    rng = np.random.default_rng(0)
    confusion = rng.integers(1, 100, (10, 10))
    confusion[[0, 9]] = 0
    figures = metrics.classification_report(confusion, digits_run.config["class_counts"])
    assert figures["per_class_accuracy"][0] is figures["per_class_accuracy"][9] is None
    change(folder, "metrics.json", **figures)
    for path in pictures.draw_all(folder):
        assert_drawn(path)


def test_a_history_without_evaluations_can_be_drawn(digits_run, tmp_path):
    folder = copy(digits_run, tmp_path / "run")
    header, first, *_ = (folder / "history.csv").read_text().splitlines()
    (folder / "history.csv").write_text(f"{header}\n{first}\n")
    for path in pictures.draw_all(folder):
        assert path.stat().st_size > 1000


ODD_NAMES = ["$0-$10", "$$", "Ünïcode", "a name of many words, thirty-seven of " * 2]
USER_SETTINGS = {"text.usetex": True, "savefig.bbox": "tight", "axes.titlesize": 40}


def odd_run(folder, names):
    """A finished run of classes with these names."""
    classes = len(names)
    config = {"class_names": names, "class_counts": [9] * classes, "class_weights": [1] * classes}
    shots = dict.fromkeys(("many_accuracy", "medium_accuracy", "few_accuracy"), ...)
    return write_run(folder, [0.5] * classes, config=config, metrics=shots)


def test_names_that_look_like_formulas_are_drawn_as_they_are(tmp_path):
    folder = odd_run(tmp_path / "run", ODD_NAMES)
    assert len(pictures.draw_all(folder)) == len(NAMES)
    config, figures = directory.read_finished(folder)
    axes = pictures._confusion_matrix(config, figures).axes[0]
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        drawn = [tick._preprocess_math(tick.get_text()) for tick in ticks]
        assert drawn[:3] == [(name, False) for name in ODD_NAMES[:3]]
        (last, _) = drawn[3]
        assert last.startswith("a name of many words")
        assert len(last) == 24


@pytest.mark.parametrize("length", [1, 10, 24, 74])
def test_the_room_for_the_bars_does_not_depend_on_the_names(tmp_path, length):
    config = {**directory.read_finished(odd_run(tmp_path / "run", list("abc")))[0]}
    config["class_names"] = [c * length for c in "abc"]
    figure = pictures._class_counts(config)
    figure.draw_without_rendering()
    for axes in figure.axes:
        width, height = axes.get_window_extent().size / figure.dpi
        assert width > 3
        assert height > 2.3
    inches = figure.get_tightbbox()
    assert min(inches.x0, inches.y0) >= 0  # the labels end within the picture


def test_shortened_names_can_be_told_apart():
    names = ["x" * 30 + "a", "x" * 30 + "b", "y"]
    assert drawing.class_labels(names, 9) == ["0: xxxxx…", "1: xxxxx…", "y"]


def test_a_class_whose_letters_the_font_lacks_is_called_by_its_number(tmp_path, capsys):
    folder = odd_run(tmp_path / "run", ["cat", "猫", "dog"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures.draw_all(folder)
    (told,) = capsys.readouterr().err.splitlines()
    assert told.endswith("which the pictures show as their numbers: 猫")
    axes = pictures._class_counts(directory.read_finished(folder)[0]).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["cat", "class 1", "dog"]


def test_the_users_matplotlib_settings_change_no_picture_and_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # where no latex is
    folder = odd_run(tmp_path / "run", ODD_NAMES)

    def pixels():
        pictures.draw_comparison({"all": [folder]}, folder / "comparison.png")
        paths = [*pictures.draw_all(folder), folder / "comparison.png"]
        return [matplotlib.image.imread(path) for path in paths]

    plain = pixels()
    with matplotlib.rc_context(USER_SETTINGS):
        pictures.rehearse()
        for ours, theirs in zip(plain, pixels(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert matplotlib.rcParams["axes.titlesize"] == 40


def test_a_picture_that_can_not_be_drawn_keeps_none_of_the_others_away(tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("no\nink")

    monkeypatch.setattr(pictures, "_class_counts", fail)
    folder = write_run(tmp_path / "run")
    with pytest.raises(UserError) as caught:
        pictures.draw_all(folder)
    assert str(caught.value) == (
        f"class_counts.png in {folder / 'plots'} can't be drawn (ValueError: no ink)."
    )
    drawn = {path.stem for path in (folder / "plots").iterdir()}
    assert drawn == NAMES - {"class_counts"}


def test_a_run_as_a_report_needs_it_can_be_drawn(tmp_path):
    assert len(pictures.draw_all(write_run(tmp_path / "run"))) == len(NAMES)


@pytest.mark.parametrize("content", [None, "epoch,loss\none,1\n"])
def test_a_run_without_a_readable_history_is_told_in_one_line(digits_run, tmp_path, content):
    folder = copy(digits_run, tmp_path / "run", "config.json", "metrics.json")
    if content:
        (folder / "history.csv").write_text(content)
    with pytest.raises(UserError, match=r"history.csv .*; there are no learning curves to draw"):
        pictures.draw_all(folder)


@pytest.mark.parametrize("classes", [2, 100])
def test_few_and_many_classes_can_be_drawn(digits_run, tmp_path, classes):
    folder = copy(digits_run, tmp_path / "run")
    ids = list(range(classes))
    rng = np.random.default_rng(0)
    counts = [500 - c for c in ids]
    groups, rule = metrics.shot_groups(counts)
    change(
        folder,
        "config.json",
        class_counts=counts,
        class_weights=[1.0 + c / classes for c in ids],
        class_names=[f"class number {c}" for c in ids],
        shot_groups=groups,
        shot_rule=rule,
    )
    confusion = rng.integers(1, 100, (classes, classes))
    change(folder, "metrics.json", **metrics.classification_report(confusion, counts))
    for path in pictures.draw_all(folder):
        assert_drawn(path)


def test_runs_are_compared_in_one_picture(digits_run, tmp_path):
    other = copy(digits_run, tmp_path / "other")
    confusion = np.eye(10, dtype=int) + np.roll(np.eye(10, dtype=int), 1, axis=1)
    confusion[0] = 0
    figures = metrics.classification_report(confusion, digits_run.config["class_counts"])
    assert figures["per_class_accuracy"] == [None] + [0.5] * 9
    change(other, "metrics.json", **figures)
    picture = tmp_path / "comparison.png"
    pictures.draw_comparison({"plain": [other], "balanced": [digits_run.folder]}, picture)
    assert_drawn(picture)
    single = tmp_path / "single.png"
    pictures.draw_comparison({"plain": [other]}, single)
    assert_drawn(single)
    seeds = tmp_path / "seeds.png"
    pictures.draw_comparison({"plain": [other, digits_run.folder]}, seeds)
    assert_drawn(seeds)
    pixels = [matplotlib.image.imread(path) for path in (picture, single, seeds)]
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(pixels, 2))


def test_the_curves_hold_the_numbers_of_the_history(digits_run):
    history = pictures._history(digits_run.folder / "history.csv")
    figure = pictures._curves(history, digits_run.config)
    losses, accuracies, rates = figure.axes
    drawn = {line.get_label(): line for line in losses.lines}
    assert list(drawn["training"].get_ydata()) == digits_run.column("loss")
    drawn = {line.get_label(): line for line in accuracies.lines}
    assert list(drawn["test"].get_xdata()) == [3, 6, 9]  # --eval_epochs=3
    expected = [float(row["val_accuracy"]) for row in digits_run.history if row["val_accuracy"]]
    assert list(drawn["test"].get_ydata()) == expected
    assert list(rates.lines[0].get_ydata()) == digits_run.column("learning_rate")


def test_the_bars_are_the_counts_weights_and_accuracies(digits_run):
    config, figures = digits_run.config, digits_run.metrics
    counts, weights = pictures._class_counts(config).axes
    assert [bar.get_height() for bar in counts.patches] == config["class_counts"]
    assert [bar.get_height() for bar in weights.patches] == config["class_weights"]
    (accuracies,) = pictures._per_class_accuracy(config, figures).axes
    assert [bar.get_height() for bar in accuracies.patches] == figures["per_class_accuracy"]


def test_the_confusion_matrix_is_shown_as_shares_of_the_true_class(digits_run):
    axes = pictures._confusion_matrix(digits_run.config, digits_run.metrics).axes[0]
    expected = np.array(digits_run.metrics["confusion_matrix"]) / 50  # 50 test images a class
    np.testing.assert_allclose(axes.images[0].get_array(), expected)
    assert axes.get_ylabel() == "true class"
    assert axes.get_xlabel() == "predicted class"
