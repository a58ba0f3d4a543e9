"""The pictures of a run: drawn from the files of its directory, and not blank."""

import json
import shutil
import warnings

import matplotlib
import matplotlib.image
import numpy as np
import pytest

from cb_keras import metrics
from experiments.cli import UserError
from experiments.reporting import drawing, pictures
from experiments.reporting.pictures import classes, confusion, curves, of_run
from tests.experiments.report_folders import write_run
from tests.experiments.reporting.pictures.cases import odd_run, series

NAMES = {"class_counts", "curves", "per_class_accuracy", "confusion_matrix", "confused_pairs"}
RELIABILITY = {"images": [0, 30, 70], "confidence": [None, 0.5, 0.9], "accuracy": [None, 0.4, 0.8]}
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
    assert len(np.unique(np.round(pixels[::3, ::3].reshape(-1, 3), 1), axis=0)) > 5


def copy(run, folder, *names):
    folder.mkdir()
    for name in names or ("config.json", "history.csv", "metrics.json"):
        shutil.copy(run.folder / name, folder)
    return folder


def change(folder, name, **values):
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**content, **values}))


@pytest.mark.slow
def test_pictures_are_made_again_from_three_files_without_tensorflow(
    digits_run, run_python, tmp_path
):
    by_the_trainer = {path.stem for path in (digits_run.folder / "plots").iterdir()}
    assert by_the_trainer - {"reliability"} == NAMES  # which is there where it was measured
    folder = copy(digits_run, tmp_path / "run")
    done = run_python("-c", WITHOUT_TENSORFLOW, f"--run={folder}")
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    assert sorted(printed) == sorted(str(folder / "plots" / f"{n}.png") for n in by_the_trainer)
    for name in by_the_trainer:
        first = digits_run.folder / "plots" / f"{name}.png"
        assert_drawn(first)
        assert (folder / "plots" / f"{name}.png").read_bytes() == first.read_bytes()


def test_a_folder_without_a_finished_run_is_told_in_one_line(run_python, tmp_path):
    done = run_python("-m", "experiments.plots", f"--run={tmp_path}")
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path} holds no finished run (no config.json).\n"


def test_only_what_is_missing_is_drawn_and_what_will_change_is_removed(tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "plots").mkdir()
    for name in NAMES - {"curves"}:
        (folder / "plots" / f"{name}.png").write_text(name)
    assert pictures.draw_missing(folder) == [folder / "plots" / "curves.png"]
    assert pictures.draw_missing(folder) == []
    assert (folder / "plots" / "class_counts.png").read_text() == "class_counts"
    (folder / "plots" / "my own.png").touch()
    pictures.remove(folder)
    assert [path.name for path in (folder / "plots").iterdir()] == ["my own.png"]
    pictures.remove(folder)


def test_what_was_not_measured_leaves_gaps(digits_run, tmp_path):
    folder = copy(digits_run, tmp_path / "run")
    confusion_matrix = np.random.default_rng(0).integers(1, 100, (10, 10))
    confusion_matrix[[0, 9]] = 0
    measured = metrics.classification_report(confusion_matrix, digits_run.config["class_counts"])
    assert measured["per_class_accuracy"][0] is measured["per_class_accuracy"][9] is None
    support = confusion_matrix.sum(axis=1).tolist()
    change(folder, "metrics.json", **measured, support=support, macro_f1=None)
    header, first, *_ = (folder / "history.csv").read_text().splitlines()
    (folder / "history.csv").write_text(f"{header}\n{first}\n")  # not evaluated yet
    for path in pictures.draw_all(folder):
        assert_drawn(path)


ODD_NAMES = ["$0-$10", "$$", "Ünïcode", "a name of many words, thirty-seven of " * 2]
USER_SETTINGS = {"text.usetex": True, "savefig.bbox": "tight", "axes.titlesize": 40}


@pytest.mark.slow
def test_names_that_look_like_formulas_are_drawn_as_they_are_whatever_the_users_settings(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", str(tmp_path))  # where no latex is
    folder = odd_run(tmp_path / "run", ODD_NAMES)

    def pixels():
        pictures.draw_comparison({"all": [folder]}, folder / "comparison.png")
        paths = [*pictures.draw_all(folder), folder / "comparison.png"]
        return [path.read_bytes() for path in paths]

    plain = pixels()
    with matplotlib.rc_context(USER_SETTINGS):
        pictures.rehearse()
        assert pixels() == plain
        assert matplotlib.rcParams["axes.titlesize"] == 40
    axes = confusion.matrix(series(folder), drawing.PNG).axes[0]
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        drawn = [tick._preprocess_math(tick.get_text()) for tick in ticks]
        assert drawn[:3] == [(name, False) for name in ODD_NAMES[:3]]
        (last, _) = drawn[3]
        assert last.startswith("a name of many words")
        assert len(last) == 24


@pytest.mark.parametrize("length", [1, 74])
def test_the_room_for_the_bars_does_not_depend_on_the_names(tmp_path, length):
    folder = odd_run(tmp_path / "run", [c * length for c in "abc"])
    figure = classes.counts_and_weights(series(folder), "title")
    figure.draw_without_rendering()
    for axes in figure.axes:
        width, height = axes.get_window_extent().size / figure.dpi
        assert width > 3
        assert height > 2.3
    inches = figure.get_tightbbox()
    assert min(inches.x0, inches.y0) >= 0  # the labels end within the picture


def test_a_class_whose_letters_the_font_lacks_is_called_by_its_number(tmp_path, capsys):
    folder = odd_run(tmp_path / "run", ["cat", "猫", "dog"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures.draw_all(folder)
    (told,) = capsys.readouterr().err.splitlines()
    assert told.endswith("which the pictures show as their numbers: 猫")
    axes = classes.counts_and_weights(series(folder), "title").axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["cat", "class 1", "dog"]


def test_a_picture_that_can_not_be_drawn_keeps_none_of_the_others_away(tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("no\nink")

    monkeypatch.setitem(of_run._PICTURES, "class_counts", (fail, lambda one: True))
    folder = write_run(tmp_path / "run")
    with pytest.raises(UserError) as caught:
        pictures.draw_all(folder)
    assert str(caught.value) == (
        f"class_counts.png in {folder / 'plots'} can't be drawn (ValueError: no ink)."
    )
    drawn = {path.stem for path in (folder / "plots").iterdir()}
    assert drawn == NAMES - {"class_counts"}


def test_a_full_disk_is_not_taken_for_a_picture_that_can_not_be_drawn(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(of_run.drawing, "write_png", fail)
    with pytest.raises(OSError, match="No space left"):
        pictures.draw_all(write_run(tmp_path / "run"))


def test_where_matplotlib_can_not_draw_the_rehearsal_says_so(monkeypatch):
    def fail(*_):
        raise RuntimeError("no\nfont")

    monkeypatch.setattr(of_run.drawing, "png", fail)
    with pytest.raises(UserError, match=r"can't draw here \(RuntimeError: no font\); see to that"):
        pictures.rehearse()


@pytest.mark.parametrize("content", [None, "epoch,loss\none,1\n"])
def test_a_run_without_a_readable_history_is_told_in_one_line(tmp_path, content):
    folder = write_run(tmp_path / "run")
    (folder / "history.csv").unlink()
    if content:
        (folder / "history.csv").write_text(content)
    with pytest.raises(UserError, match=r"history.csv .*; there are no learning curves to draw"):
        pictures.draw_all(folder)


@pytest.mark.parametrize("number", [2, 100])
def test_few_and_many_classes_can_be_drawn(tmp_path, number):
    counts = [500 - c for c in range(number)]
    groups, _ = metrics.shot_groups(counts)
    config = {
        "class_counts": counts,
        "class_weights": [1.0 + c / number for c in range(number)],
        "class_names": [f"class number {c}" for c in range(number)],
        "shot_groups": groups,
    }
    confusion_matrix = np.random.default_rng(0).integers(1, 100, (number, number))
    measured = metrics.classification_report(confusion_matrix, counts)
    measured = {key: ... if value is None else value for key, value in measured.items()}
    folder = write_run(tmp_path / "run", [0.5] * number, config=config, metrics=measured)
    for path in pictures.draw_all(folder):
        assert_drawn(path)


def test_what_a_run_does_not_have_has_no_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(of_run.drawing, "write_png", lambda *_: None)
    without = pictures.draw_all(write_run(tmp_path / "none wrong", (1, 1, 1)))
    assert {path.stem for path in without} == NAMES - {"confused_pairs"}
    complete = pictures.draw_all(write_run(tmp_path / "b", metrics={"reliability": RELIABILITY}))
    assert {path.stem for path in complete} == {*NAMES, "reliability"}


def test_the_history_of_a_run_with_validation_is_called_so_and_its_figures_those_of_the_test(
    digits_run, tmp_path
):
    folder = copy(digits_run, tmp_path / "run")
    change(folder, "metrics.json", split="test", validation=digits_run.metrics)
    _, accuracies, _ = curves.side_by_side(series(folder), "").axes
    drawn = [text.get_text() for text in accuracies.get_legend().get_texts()]
    assert drawn == ["training", "validation", "validation, balanced"]
    (axes,) = classes.accuracy_by_name(series(folder), "").axes
    assert axes.get_ylabel() == "test accuracy"


def test_methods_are_compared_in_one_picture_by_means_over_their_runs(tmp_path, monkeypatch):
    recalls = [(0.9, 0.6, 0.3), (0.8, 0.7, 0.6), (0.5, 0.5, 0.5)]
    a, b, c = (write_run(tmp_path / f"{i}", r, seed=i) for i, r in enumerate(recalls))
    drawn = []
    monkeypatch.setattr(of_run.drawing, "write_png", lambda _, draw, *how: drawn.append(draw(*how)))
    pictures.draw_comparison({"plain": [a, b], "balanced": [c]}, tmp_path / "comparison.png")
    counts, accuracies = drawn[0].axes
    assert [bar.get_height() for bar in counts.patches] == [1000, 100, 10]
    heights = [bar.get_height() for bar in accuracies.patches]
    np.testing.assert_allclose(heights, [0.85, 0.65, 0.45, 0.5, 0.5, 0.5])
    middles = [bar.get_x() + bar.get_width() / 2 for bar in accuracies.patches]
    np.testing.assert_allclose(middles, [-0.2, 0.8, 1.8, 0.2, 1.2, 2.2])
    (bars,) = (c for c in accuracies.containers if getattr(c, "has_yerr", False))
    length = np.diff([ends[:, 1] for ends in bars.lines[2][0].get_segments()])[:, 0]
    np.testing.assert_allclose(length, 2 * np.std([recalls[0], recalls[1]], axis=0, ddof=1))
    told = [text.get_text() for text in accuracies.get_legend().get_texts()]
    assert told == ["plain: .6500 ± .0707", "balanced: .5000"]
    title = "cifar10, softmax loss, mean and standard deviation of 2 seeds"
    assert drawn[0].get_suptitle() == title


def test_one_run_of_a_method_is_compared_without_a_spread(tmp_path):
    folder = write_run(tmp_path / "run")
    pictures.draw_comparison({"plain": [folder]}, tmp_path / "comparison.png")
    assert_drawn(tmp_path / "comparison.png")
    figure = classes.comparison([series(folder)], "title")
    assert not any(getattr(c, "has_yerr", False) for c in figure.axes[1].containers)


def test_the_curves_hold_the_numbers_of_the_history(digits_run):
    figure = curves.side_by_side(series(digits_run.folder), "digits")
    losses, accuracies, rates = figure.axes
    drawn = {line.get_label(): line for line in losses.lines}
    assert list(drawn["training"].get_ydata()) == digits_run.column("loss")
    drawn = {line.get_label(): line for line in accuracies.lines}
    for name, column in {
        "training": "accuracy",
        "test": "val_accuracy",
        "test, balanced": "val_balanced_accuracy",
    }.items():
        expected = [float(row[column]) for row in digits_run.history if row[column]]
        assert list(drawn[name].get_ydata()) == expected
    assert list(drawn["test"].get_xdata()) == [3, 6, 9]  # --eval_epochs=3
    assert list(rates.lines[0].get_ydata()) == digits_run.column("learning_rate")
    assert losses.get_yscale() == rates.get_yscale() == "log"


def test_the_bars_are_the_counts_weights_and_accuracies(digits_run):
    config, measured = digits_run.config, digits_run.metrics
    one = series(digits_run.folder)
    counts, weights = classes.counts_and_weights(one, "digits").axes
    assert [bar.get_height() for bar in counts.patches] == config["class_counts"]
    assert [bar.get_height() for bar in weights.patches] == config["class_weights"]
    (accuracies,) = classes.accuracy_by_name(one, "digits").axes
    assert [bar.get_height() for bar in accuracies.patches] == measured["per_class_accuracy"]
    assert accuracies.lines[0].get_ydata()[0] == measured["balanced_accuracy"]
    colors = {group: counts.patches[c].get_facecolor() for group, (c, *_) in _shown(config)}
    assert len(set(colors.values())) == len(colors) > 1


def _shown(config):
    return [(group, ids) for group, ids in config["shot_groups"].items() if ids]


def test_the_confusion_matrix_is_shown_as_shares_of_the_true_class(digits_run):
    axes = confusion.matrix(series(digits_run.folder), drawing.PNG).axes[0]
    expected = np.array(digits_run.metrics["confusion_matrix"]) / 50  # 50 test images a class
    np.testing.assert_allclose(axes.images[0].get_array(), expected)
    assert axes.get_ylabel() == "true class"
    assert axes.get_xlabel() == "predicted class"


def test_a_title_tells_the_data_the_method_and_the_power(tmp_path):
    folder = write_run(tmp_path / "run", loss="focal", gamma=2.0, cb_power=0.5)
    assert of_run._title(of_run._read(folder)) == "cifar10, focal, gamma 2, power 0.5"
