"""The learning curves of many runs in one picture."""

import pytest

from experiments.cli import UserError
from experiments.reporting import pictures
from tests.experiments.report_folders import write_run


def drawn_of(folder, monkeypatch):
    """The figure of the runs below a folder, as it is written."""
    from experiments.reporting import drawing

    made = []
    write_png = drawing.write_png

    def keep(path, draw, *arguments):
        write_png(path, lambda: made.append(draw(*arguments)) or made[0])

    monkeypatch.setattr(drawing, "write_png", keep)
    path = folder.parent / "curves.png"
    assert pictures.draw_curves(folder, path) == path
    assert path.read_bytes().startswith(b"\x89PNG")
    return made[0]


def test_a_method_is_a_column_and_a_power_a_line_of_the_same_scale(tmp_path, monkeypatch):
    for loss, powers in (("softmax", (0.0, 1.0)), ("sigmoid", (0.0,))):
        for power in powers:
            write_run(tmp_path / "runs" / f"{loss}{power}", loss=loss, cb_power=power)
    axes = drawn_of(tmp_path / "runs", monkeypatch).axes
    assert [a.get_title() for a in axes] == ["softmax", "sigmoid", "", ""]
    assert [len(a.lines) for a in axes] == [2, 1, 2, 1]
    assert [a.get_ylabel() for a in axes] == ["training loss, with L2", "", "test accuracy", ""]
    assert axes[0].get_ylim() == axes[1].get_ylim()
    assert axes[2].get_ylim() == axes[3].get_ylim()
    assert list(axes[2].lines[0].get_xdata()) == [2, 4]


def test_the_legend_names_the_powers_of_all_columns_once(tmp_path, monkeypatch):
    for loss, power in (("softmax", 2.0), ("softmax", 0.0), ("sigmoid", 0.5), ("sigmoid", 0.0)):
        write_run(tmp_path / "runs" / f"{loss}{power}", loss=loss, cb_power=power)
    (legend,) = drawn_of(tmp_path / "runs", monkeypatch).legends
    assert sorted(t.get_text() for t in legend.get_texts()) == ["0", "0.5", "2", "power"]


def test_runs_that_differ_in_more_are_refused_by_the_setting(tmp_path):
    for seed, depth in ((0, 8), (1, 14)):
        write_run(tmp_path / f"run{seed}", seed=seed, depth=depth)
    with pytest.raises(UserError, match="differ in depth, so that they can't be compared"):
        pictures.draw_curves(tmp_path, tmp_path / "curves.png")


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no finished run"):
        pictures.draw_curves(tmp_path, tmp_path / "curves.png")
