"""The power of the class-balanced term: its colours, and figures against it."""

import numpy as np

from experiments.reporting import drawing
from experiments.reporting.pictures import series as of_series
from experiments.reporting.pictures.series import MARKERS, Style

_RAMP = ("#2f4b9b", "#1d9a8a", "#d98a1b", "#b02a3c")
_LABEL_COLORS = ("#5f3f98", "#2c8a50", "#c4572a", "#3a7ca5", "#8a6d1f", "#a23b72")


def styles(powers):
    """Dict of power to `Style`: along one ramp of colours, so that their order can be seen.

    None, of methods without a power, has a colour of its own.
    """
    powers = {*powers}
    without = {None: Style(_LABEL_COLORS[0], MARKERS[0])} if None in powers else {}
    powers = sorted(powers - {None})
    ramp = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in _RAMP])
    at = np.linspace(0, len(ramp) - 1, len(powers))
    colors = np.stack([np.interp(at, range(len(ramp)), ramp[:, i]) for i in range(3)], axis=1)
    of_powers = {
        power: Style("#" + "".join(f"{round(v):02x}" for v in color), MARKERS[i % len(MARKERS)])
        for i, (power, color) in enumerate(zip(powers, colors, strict=True))
    }
    return {**of_powers, **without}


def figures_by_power(groups, figures, stacked=False):
    """Figures of `metrics.json` against the power: mean and standard deviation, a line a label.

    Args:
        groups: Dict of label to list of `sections.Group`.
        figures: Dict of key of `metrics.json` to the label of its panel; all have one scale.
        stacked: Whether the panels are below each other, for a narrow page.
    """
    number = len(figures)
    rows, columns = (number, 1) if stacked else (1, number)
    size = (4.3, 2.7 * number + 0.7) if stacked else (6.6 * number, 4.0)
    figure, panels = drawing.figure(*size, rows=rows, columns=columns, sharex=True, sharey=True)
    for axes, (key, label) in zip(panels, figures.items(), strict=True):
        for i, (name, of_label) in enumerate(groups.items()):
            _draw(axes, i, name, {group.power: group.over_seeds(key) for group in of_label})
        axes.set_title(label, fontsize=11)
        axes.set_ylabel("accuracy")
        axes.tick_params(labelleft=True, labelbottom=True)
    panels[-1].set_xlabel("power")
    if not stacked:
        panels[0].set_xlabel("power")
    of_series.legend(figure, panels[0], columns=2 if stacked else 5)
    return figure


def _draw(axes, i, name, points):
    style = Style(_LABEL_COLORS[i % len(_LABEL_COLORS)], MARKERS[i % len(MARKERS)])
    points = {power: p for power, p in points.items() if p.mean is not None}
    axes.errorbar(
        list(points),
        [p.mean for p in points.values()],
        of_series.deviations(points.values()),
        **of_series.line(style, drawing.label(name, 24)),
    )
