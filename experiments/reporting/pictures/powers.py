"""The power of the class-balanced term: its colours, and figures against it."""

import numpy as np

from experiments.reporting import drawing
from experiments.reporting.pictures import series as of_series
from experiments.reporting.pictures.series import MARKERS, Style

_RAMP = ("#2f4b9b", "#1d9a8a", "#d98a1b", "#b02a3c")
_LABEL_COLORS = ("#5f3f98", "#2c8a50", "#c4572a", "#3a7ca5", "#8a6d1f", "#a23b72")


def styles(powers):
    """Dict of power to `Style`: along one ramp of colours, so that their order can be seen."""
    powers = sorted(set(powers))
    ramp = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in _RAMP])
    at = np.linspace(0, len(ramp) - 1, len(powers))
    colors = np.stack([np.interp(at, range(len(ramp)), ramp[:, i]) for i in range(3)], axis=1)
    return {
        power: Style("#" + "".join(f"{round(v):02x}" for v in color), MARKERS[i % len(MARKERS)])
        for i, (power, color) in enumerate(zip(powers, colors, strict=True))
    }


def figure_by_power(groups, key, label):
    """A figure of `metrics.json` against the power: mean and standard deviation, a line a label.

    Args:
        groups: Dict of label to `sections.Group`.
        key: Key of `metrics.json`.
        label: Of the vertical axis.
    """
    figure, (axes,) = drawing.figure(4.3, 3.5)
    for i, (name, of_label) in enumerate(groups.items()):
        style = Style(_LABEL_COLORS[i % len(_LABEL_COLORS)], MARKERS[i % len(MARKERS)])
        points = {group.power: group.over_seeds(key) for group in of_label}
        points = {power: p for power, p in points.items() if p.mean is not None}
        axes.errorbar(
            list(points),
            [p.mean for p in points.values()],
            of_series.deviations(points.values()),
            **of_series.line(style, drawing.label(name, 24)),
        )
    axes.set_xlabel("power")
    axes.set_ylabel(label)
    of_series.legend(figure, axes, columns=3)
    return figure
