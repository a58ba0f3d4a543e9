"""Pictures of several runs: they hold the numbers of the runs, and take any run."""

import xml.etree.ElementTree

import matplotlib
import numpy as np
import pytest

from experiments.reporting import drawing, found, sections
from experiments.reporting.pictures import classes, confusion, curves, powers
from experiments.reporting.pictures.series import Series
from tests.experiments.report_folders import COUNTS, write_run

SVG = "{http://www.w3.org/2000/svg}"


def groups_in(folder, label="softmax"):
    below = found.find(folder)
    assert below.damaged == []
    ((section,), _) = sections.sections(below.runs)
    return section.groups[label]


def pictures_of(groups):
    """Dict of name to the function and the arguments that draw it."""
    styles = powers.styles(group.power for group in groups)
    series = [Series(f"{g.power:g}", g.runs, styles[g.power]) for g in groups]
    return {
        "curves": (curves.above_each_other, series),
        "accuracy": (classes.accuracy_by_size, series),
        "weights": (classes.weights_by_size, series),
        "power": (powers.figure_by_power, {"softmax": groups}, "few_accuracy", "few shot"),
        "confusion": (confusion.matrix, series[0], drawing.SVG),
    }


def svg(groups, *names):
    """Dict of name to SVG."""
    pictures = pictures_of(groups)
    return {name: drawing.svg(*pictures[name]) for name in names or pictures}


def axes_of(groups, name):
    draw, *arguments = pictures_of(groups)[name]
    return draw(*arguments).axes


def texts(picture):
    """What is written on a picture; it is well-formed and of some content, too."""
    root = xml.etree.ElementTree.fromstring(picture)
    assert root.tag == f"{SVG}svg"
    assert len(list(root.iter(f"{SVG}path"))) + len(list(root.iter(f"{SVG}use"))) > 5
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


@pytest.fixture
def groups(tmp_path):
    """Powers 0 and 1 with two seeds each."""
    for power in (0, 1):
        for seed in (0, 1):
            recalls = (0.9 - 0.1 * power, 0.6 + 0.02 * seed, 0.3 + 0.2 * power + 0.1 * seed)
            write_run(tmp_path / f"{power}{seed}", recalls, cb_power=power, seed=seed)
    return groups_in(tmp_path)


def lines(axes):
    return {
        container.get_label(): container.lines[0].get_xydata().T for container in axes.containers
    }


def test_curves_are_the_history_a_mean_and_the_seeds_it_is_of(groups):
    above, below = axes_of(groups, "curves")
    means = {line.get_label(): line for line in above.lines if line.get_label() in ("0", "1")}
    assert set(means) == {"0", "1"}
    np.testing.assert_allclose(means["1"].get_xydata(), [[1, 2], [2, 1], [3, 2 / 3], [4, 0.5]])
    assert len(above.lines) == len(below.lines) == 2 * (1 + 2)
    np.testing.assert_allclose(below.lines[-1].get_xydata(), [[2, 0.2], [4, 0.4]])


def test_class_accuracies_stand_at_the_class_sizes(groups):
    (axes,) = axes_of(groups, "accuracy")
    assert axes.get_xscale() == "log"
    sizes, accuracies = lines(axes)["1"]
    assert list(sizes) == sorted(COUNTS)
    np.testing.assert_allclose(accuracies, [(0.5 + 0.6) / 2, 0.61, 0.8])


def test_the_power_curve_has_bars_of_one_standard_deviation(groups):
    (axes,) = axes_of(groups, "power")
    powers, accuracies = lines(axes)["softmax"]
    np.testing.assert_allclose(powers, [0, 1])
    np.testing.assert_allclose(accuracies, [0.35, 0.55])
    (bars,) = axes.containers[0].lines[2]
    sd = np.std([0.3, 0.4], ddof=1)
    expected = [[[0, 0.35 - sd], [0, 0.35 + sd]], [[1, 0.55 - sd], [1, 0.55 + sd]]]
    np.testing.assert_allclose(bars.get_segments(), expected)


def test_one_seed_has_no_bars(tmp_path):
    write_run(tmp_path / "a", cb_power=0)
    write_run(tmp_path / "b", cb_power=1)
    for name in ("power", "accuracy"):
        (axes,) = axes_of(groups_in(tmp_path), name)
        assert not any(container.has_yerr for container in axes.containers)


def test_weights_stand_at_the_class_sizes(groups):
    (axes,) = axes_of(groups, "weights")
    assert axes.get_xscale() == axes.get_yscale() == "log"
    np.testing.assert_allclose(lines(axes)["1"], [[10, 100, 1000], [2.5, 0.4, 0.1]])


def test_the_confusion_matrix_adds_up_the_seeds_in_shares_of_the_true_class(groups):
    (axes,) = axes_of(groups, "confusion")
    expected = [[0.9, 0.1, 0], [0, 0.61, 0.39], [0.65, 0, 0.35]]
    np.testing.assert_allclose(axes.images[0].get_array(), expected)


def test_a_picture_names_what_it_shows_in_real_text(groups):
    written = {name: texts(picture) for name, picture in svg(groups).items()}
    assert {"training loss, with L2", "test accuracy", "epoch", "power", "0", "1"} <= set(
        written["curves"]
    )
    assert {"training images of the class", "10", "100", "1,000"} <= set(written["accuracy"])
    assert {"few shot", "softmax"} <= set(written["power"])
    assert {"cat", "dog", "emu", "90", "61", "39"} <= set(written["confusion"])


def test_the_same_runs_give_the_same_bytes_whatever_the_users_settings_which_stay(groups):
    first = svg(groups)
    with matplotlib.rc_context({"text.usetex": True, "font.size": 30, "svg.fonttype": "path"}):
        assert svg(groups) == first
        assert matplotlib.rcParams["font.size"] == 30


def test_class_names_are_text_whatever_they_hold(tmp_path):
    names = ["$\\frac{", "<b>&\x00\x1b", "\ud800猫\u202e much longer"]
    write_run(tmp_path / "run", config={"class_names": names})
    written = texts(svg(groups_in(tmp_path), "confusion")["confusion"])
    assert {"$\\frac{", "<b>&??", "?猫? much l…"} <= set(written)


def test_dollars_in_the_name_of_a_loss_are_no_formula(tmp_path):
    for power in (0, 1):
        write_run(tmp_path / f"{power}", loss="$0-$10 $$", cb_power=power)
    groups = {"$0-$10 $$": groups_in(tmp_path, "$0-$10 $$")}
    picture = drawing.svg(powers.figure_by_power, groups, "accuracy", "accuracy")
    assert "$0-$10 $$" in texts(picture)


@pytest.mark.parametrize("classes", [2, 13, 21])
def test_few_and_many_classes_can_be_drawn(tmp_path, classes):
    recalls = np.linspace(0, 1, classes).tolist()
    config = {
        "class_names": [f"class number {c}" for c in range(classes)],
        "class_counts": list(range(classes)),  # the first is absent
        "class_weights": [0.0, *[1.0] * (classes - 1)],
    }
    write_run(tmp_path / "run", recalls, config=config, cb_power=0)
    write_run(tmp_path / "other", recalls, config=config, cb_power=1)
    for picture in svg(groups_in(tmp_path)).values():
        texts(picture)


def test_many_classes_are_averaged_with_those_of_similar_size(tmp_path):
    recalls = np.linspace(0, 1, 100)
    config = {
        "class_names": [str(c) for c in range(100)],
        "class_counts": list(range(1000, 0, -10)),
        "class_weights": [1.0] * 100,
    }
    write_run(tmp_path / "run", recalls.tolist(), config=config)
    (axes,) = axes_of(groups_in(tmp_path), "accuracy")
    sizes, accuracies = lines(axes)["1"]
    np.testing.assert_allclose(sizes, np.arange(10, 1001, 10).reshape(10, 10).mean(axis=1))
    expected = np.round(recalls, 2)[::-1].reshape(10, 10).mean(axis=1)
    np.testing.assert_allclose(accuracies, expected)


def test_what_was_not_measured_leaves_gaps(tmp_path):
    folder = write_run(
        tmp_path / "run",
        metrics={
            "accuracy": 0.5,
            "balanced_accuracy": 0.5,
            "few_accuracy": ...,
            "per_class_accuracy": [None, 0.5, None],
            "confusion_matrix": [[0, 0, 0], [7, 7, 0], [0, 0, 0]],
        },
    )
    (folder / "history.csv").write_text("epoch,loss,val_accuracy\n1,nan,\n")
    for picture in svg(groups_in(tmp_path), "curves", "accuracy", "power").values():
        texts(picture)


@pytest.mark.filterwarnings("ignore")  # matplotlib says that they overflow
def test_absurd_numbers_can_be_drawn(tmp_path):
    folder = write_run(
        tmp_path / "run",
        cb_power=-1e299,
        config={"class_counts": [10**299, 1, 0], "class_weights": [1e299, -1, 1e-299]},
        metrics={
            "accuracy": 1 / 3,
            "balanced_accuracy": 1 / 3,
            "per_class_accuracy": [1 / 3, None, 1 / 3],
            "confusion_matrix": [[10**299] * 3, [0] * 3, [1] * 3],
        },
    )
    (folder / "history.csv").write_text(
        "epoch,loss,val_accuracy\n999999999,-1e299,1e299\n1,0,-1e299\n"
    )
    for picture in svg(groups_in(tmp_path)).values():
        texts(picture)


def test_a_power_looks_the_same_in_all_pictures_and_no_two_look_alike():
    styles = powers.styles([2, 0, 0.5, 1, 0, -1, 0.25])
    assert list(styles) == [-1, 0, 0.25, 0.5, 1, 2]
    assert len({style.color for style in styles.values()}) == 6
    assert len({style.marker for style in styles.values()}) == 6
    assert powers.styles([3.0]).keys() == {3.0}
    assert powers.styles([]) == {}
