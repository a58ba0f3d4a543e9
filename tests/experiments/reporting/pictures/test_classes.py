"""Pictures with a bar or a row a class: their order, what is marked, and what many classes show."""

import json

import numpy as np
import pytest

from cb_keras import metrics
from experiments.reporting import cards, drawing, sections
from experiments.reporting.pictures import classes, confusion, curves, of_run, powers
from experiments.reporting.pictures.series import Series, Style
from tests.experiments.reporting.pictures.cases import odd_run, series, uneven_run


def names_on(axis):
    return [tick.get_text().removeprefix("class number ") for tick in axis.get_ticklabels()]


def test_classes_stand_in_the_order_of_their_sizes_in_all_pictures(tmp_path):
    one = series(uneven_run(tmp_path / "run"))
    counts, weights = classes.counts_and_weights(one, "").axes
    assert [bar.get_height() for bar in counts.patches] == [1000, 500, 100, 10]
    assert [bar.get_height() for bar in weights.patches] == [2, 3, 4, 1]
    (accuracies,) = classes.accuracy_by_name(one, "").axes
    matrix = confusion.matrix(one, drawing.PNG).axes[0]
    for axis in (counts.xaxis, weights.xaxis, accuracies.xaxis, matrix.xaxis, matrix.yaxis):
        assert names_on(axis) == ["1", "2", "3", "0"]
    expected = np.zeros((4, 4))
    expected[[0, 2, 3], [0, 2, 3]] = 10 / 12, 10 / 14, 10 / 11
    expected[0, 1], expected[2, 3], expected[3, 0] = 2 / 12, 4 / 14, 1 / 11
    np.testing.assert_allclose(matrix.images[0].get_array(), expected)


def test_a_class_without_test_images_is_marked_and_one_of_which_none_is_right_is_not(tmp_path):
    folder = uneven_run(tmp_path / "run")
    content = json.loads((folder / "metrics.json").read_text())
    content["confusion_matrix"][3] = [0, 10, 0, 0]
    again = metrics.classification_report(content["confusion_matrix"], [10, 1000, 500, 100])
    (folder / "metrics.json").write_text(json.dumps({**content, **again}))
    (axes,) = classes.accuracy_by_name(series(folder), "").axes
    bars, spans = axes.containers[0], [p for p in axes.patches if p.get_hatch()]
    assert [bar.get_height() for bar in bars][2] == 0
    assert [(span.get_x() + span.get_width() / 2, span.get_height()) for span in spans] == [(1, 1)]
    assert "no test images" in [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.slow
def test_no_legend_lies_over_a_bar_or_a_line(tmp_path, digits_run):
    runs = (series(uneven_run(tmp_path / "few")), series(uneven_run(tmp_path / "many", 30)))
    figures = [
        draw(one, "a title")
        for one in runs
        for draw in (classes.counts_and_weights, classes.accuracy_by_name)
    ]
    figures += [curves.side_by_side(series(digits_run.folder), "a title")]
    figures += [classes.comparison([Series(n, runs[0].runs, Style("0.5", "")) for n in "ab"], "")]
    for figure in figures:
        figure.draw_without_rendering()
        legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
        assert legends
        for legend in legends:
            box = legend.get_window_extent()
            assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)
            assert box.y1 <= figure.bbox.y1


def test_of_many_classes_the_least_accurate_and_the_most_confused_are_named(tmp_path):
    one = series(uneven_run(tmp_path / "run", 30))
    _, worst = classes.accuracy_by_name(one, "").axes
    recalls = {c: 10 / (11 + c) for c in range(30) if c != 2}
    expected = sorted(recalls, key=recalls.get)[:25]
    assert [name.split(" (")[0] for name in names_on(worst.yaxis)] == [str(c) for c in expected]
    np.testing.assert_allclose(
        [b.get_width() for b in worst.patches], [recalls[c] for c in expected]
    )
    (pairs,) = confusion.pairs(one, drawing.PNG).axes
    assert names_on(pairs.yaxis)[:2] == ["29 → class number 0", "28 → class number 29"]
    widths = [bar.get_width() for bar in pairs.patches]
    assert widths == sorted(widths, reverse=True)
    np.testing.assert_allclose(widths[:2], [30 / 40, 29 / 39])
    assert "30 of 40" in pairs.texts[0].get_text()


def test_more_classes_than_can_be_seen_share_rows_with_those_of_similar_size(tmp_path):
    number = 240
    folder = odd_run(tmp_path / "run", [str(c) for c in range(number)])
    shown = confusion.matrix(series(folder), drawing.PNG).axes[0].images[0].get_array()
    assert shown.shape == (50, 50)
    np.testing.assert_allclose(shown.sum(axis=1), 1)  # whole shares of every class


def test_a_run_that_kept_no_confusion_matrix_has_the_other_pictures(tmp_path, monkeypatch):
    one = series(odd_run(tmp_path / "run", ["a", "b"]))
    assert confusion.is_known(one)
    one.runs[0].metrics["confusion_matrix"] = None
    monkeypatch.setattr(of_run, "_read", lambda _: one.runs[0])
    monkeypatch.setattr(drawing, "write_png", lambda *_: None)
    drawn = {path.stem for path in of_run.draw_all(tmp_path / "run")}
    assert drawn == {"class_counts", "curves", "per_class_accuracy"}
    (section,), _ = sections.sections(one.runs)
    made = cards.of_section(section, powers.styles([one.runs[0].power]))
    assert [method["confusion"] for method in made["methods"]] == [[]]
