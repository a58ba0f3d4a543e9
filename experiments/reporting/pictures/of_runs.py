"""The learning curves of the runs below a folder in one picture, as PNG."""

import pathlib

from experiments.cli import UserError
from experiments.reporting import drawing, found, sections
from experiments.reporting.pictures import curves, powers
from experiments.reporting.pictures.series import Series
from experiments.runs import figures

_NONE = "none"  # in the legend of powers, of a method without one


def draw_curves(folder, path):
    """Writes training loss and test accuracy by epoch: a column a method, a line a power.

    Args:
        folder: With finished runs at or below it that differ in method, loss, power and seed alone.
        path: PNG file to write.

    Returns:
        The path.

    Raises:
        UserError: There are no finished runs, or they differ in other settings; says in which.
    """
    runs = found.find(pathlib.Path(folder)).runs
    if not runs:
        raise UserError(f"--runs={folder} holds no finished run.")
    made, _ = sections.sections(runs)
    if len(made) > 1:
        differences = ", ".join(made[0].different)
        raise UserError(
            f"the runs in --runs={folder} differ in {differences}, so that they can't be compared "
            "in one picture; give a folder of runs that do not."
        )
    styles = powers.styles(run.power for run in runs)
    series = {
        label: [
            Series(_NONE if g.power is None else figures.setting(g.power), g.runs, styles[g.power])
            for g in groups
        ]
        for label, groups in made[0].groups.items()
    }
    drawing.write_png(path, curves.by_label, series)
    return path
