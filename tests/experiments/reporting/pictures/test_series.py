"""Pictures of several runs: they hold the numbers of the runs, and take any run."""

import xml.etree.ElementTree

import matplotlib
import numpy as np
import pytest

from experiments.reporting import drawing, found, sections
from experiments.reporting.pictures import classes, confusion, curves, powers, reliability
from experiments.reporting.pictures.series import Series
from tests.experiments.report_folders import COUNTS, write_run

FIGURES = {"balanced_accuracy": "balanced", "few_accuracy": "few shot"}
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
        "power": (powers.figures_by_power, {"softmax": groups}, FIGURES),
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
    balanced, axes = axes_of(groups, "power")
    assert balanced.get_ylim() == axes.get_ylim()
    powers, accuracies = lines(axes)["softmax"]
    np.testing.assert_allclose(powers, [0, 1])
    np.testing.assert_allclose(accuracies, [0.35, 0.55])
    (bars,) = axes.containers[0].lines[2]
    sd = np.std([0.3, 0.4], ddof=1)
    expected = [[[0, 0.35 - sd], [0, 0.35 + sd]], [[1, 0.55 - sd], [1, 0.55 + sd]]]
    np.testing.assert_allclose(bars.get_segments(), expected)


@pytest.mark.parametrize("values", [(1.0, 1.0, 0.4), (0.0, 0.0, 0.5)])
def test_error_bars_end_within_the_axes(tmp_path, values):
    for power in (0, 1):
        for seed, value in enumerate(values):
            recalls = (value, 0.9 * value, value)
            write_run(tmp_path / f"{power}{seed}", recalls, cb_power=power, seed=seed)
    groups = groups_in(tmp_path)
    for axes in (*axes_of(groups, "accuracy"), *axes_of(groups, "power")):
        low, high = axes.get_ylim()
        ends = np.concatenate([c.lines[2][0].get_segments() for c in axes.containers])[..., 1]
        assert low < ends.min()
        assert ends.max() < high
        assert ends.max() > 1 or ends.min() < 0  # as far as they would be cut at 0 and 1


def test_a_panel_of_what_was_never_evaluated_is_left_out(tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "history.csv").write_text("epoch,loss,val_accuracy\n1,2,\n2,1,\n")
    (axes,) = axes_of(groups_in(tmp_path), "curves")
    assert axes.get_ylabel() == "training loss, with L2"
    assert axes.get_xlabel() == "epoch"
    (folder / "history.csv").write_text("epoch,loss,val_accuracy\n1,,\n")
    assert len(axes_of(groups_in(tmp_path), "curves")) == 1


def test_pictures_side_by_side_have_one_range_that_holds_all_of_them(tmp_path):
    write_run(tmp_path / "a", loss="softmax")
    folder = write_run(tmp_path / "b", loss="focal")
    (folder / "history.csv").write_text("epoch,loss,val_accuracy\n1,200,0.01\n2,0.1,0.99\n")
    both = [groups_in(tmp_path, label) for label in ("softmax", "focal, gamma 1")]
    series = [pictures_of(groups)["curves"][1] for groups in both]
    limits = curves.ranges([one for of in series for one in of])
    panels = [curves.above_each_other(of, "power", limits).axes for of in series]
    for first, second in zip(*panels, strict=True):
        assert first.get_ylim() == second.get_ylim()
        low, high = first.get_ylim()
        values = np.concatenate(
            [line.get_ydata() for axes in (first, second) for line in axes.lines]
        )
        assert low < values.min() < values.max() < high


def test_the_reliability_diagram_has_the_bins_of_all_seeds_together(tmp_path):
    bins = [
        {"images": [0, 30, 70], "confidence": [None, 0.5, 0.9], "accuracy": [None, 0.4, 0.8]},
        {"images": [0, 10, 90], "confidence": [None, 0.6, 0.8], "accuracy": [None, 0.8, 1.0]},
    ]
    for seed, reliability_bins in enumerate(bins):
        write_run(tmp_path / f"{seed}", seed=seed, metrics={"reliability": reliability_bins})
    groups = groups_in(tmp_path)
    series = pictures_of(groups)["curves"][1]
    assert reliability.is_known(series[0])
    above, below = reliability.diagram(series).axes
    confidence = [(30 * 0.5 + 10 * 0.6) / 40, (70 * 0.9 + 90 * 0.8) / 160]
    accuracy = [(30 * 0.4 + 10 * 0.8) / 40, (70 * 0.8 + 90) / 160]
    np.testing.assert_allclose(above.lines[1].get_xydata(), np.transpose([confidence, accuracy]))
    np.testing.assert_allclose(below.patches[0].get_data().values, [0, 0.2, 0.8])
    error = 0.2 * abs(accuracy[0] - confidence[0]) + 0.8 * abs(accuracy[1] - confidence[1])
    written = texts(drawing.svg(reliability.diagram, series))
    assert f"1: ECE {error:.3f}" in written
    write_run(tmp_path / "old", seed=2)
    assert not reliability.is_known(pictures_of(groups_in(tmp_path))["curves"][1][0])


def test_one_seed_has_no_bars(tmp_path):
    write_run(tmp_path / "a", cb_power=0)
    write_run(tmp_path / "b", cb_power=1)
    for name in ("power", "accuracy"):
        for axes in axes_of(groups_in(tmp_path), name):
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
    picture = drawing.svg(powers.figures_by_power, groups, FIGURES)
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
