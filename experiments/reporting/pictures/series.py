"""Runs that a picture shows as one: their colour, their legend, the spread between their seeds."""

import dataclasses

import numpy as np

MARKERS = "osD^vPX*"
_MOST_COLUMNS = 4  # of a legend


@dataclasses.dataclass(frozen=True)
class Style:
    """How one series is drawn in all pictures of a report."""

    color: str
    marker: str


@dataclasses.dataclass(frozen=True)
class Series:
    """Runs that differ in their seeds alone; one run is a series too.

    Attributes:
        label: In the legend.
        runs: List of `found.Run`.
        style: `Style`.
    """

    label: str
    runs: list
    style: Style

    @property
    def config(self):
        """`config.json` of one of the runs, for what they share."""
        return self.runs[0].config


def by_size(config):
    """Ids of the classes, those with the most training images first; of equals by their ids."""
    return np.argsort(-np.asarray(config["class_counts"], "float64"), kind="stable")


def line(style, label):
    """Matplotlib's words for a line with error bars."""
    return {
        "color": style.color,
        "marker": style.marker,
        "elinewidth": 1,
        "capsize": 2.5,
        "label": label,
    }


def deviations(statistics):
    """Lengths of the error bars; None where there is one seed throughout, and so no bar."""
    if all(s.deviation is None for s in statistics):
        return None
    return [s.deviation or 0 for s in statistics]


def legend(figure, axes, title=None, columns=_MOST_COLUMNS):
    """Puts the legend of a panel above the figure, in lines that are read from left to right."""
    legend_of(figure, list(zip(*axes.get_legend_handles_labels(), strict=True)), title, columns)


def legend_of(figure, entries, title=None, columns=_MOST_COLUMNS):
    """The same of pairs of what is drawn and its label."""
    from matplotlib.lines import Line2D

    entries = _in_lines(entries, columns)
    heading = {}
    if len(entries) > columns:
        heading = {"title": title, "alignment": "left"}
    elif title and entries:  # in the line of the labels, where it takes no line of its own
        entries, columns = [(Line2D([], [], linestyle=""), title), *entries], columns + 1
    handles, labels = [h for h, _ in entries], [text for _, text in entries]
    figure.legend(handles, labels, loc="outside upper left", ncols=columns, **heading)


def above(axes, handles=None, columns=3, **settings):
    """Puts the legend of a panel above it, where it hides nothing, in lines as they are read."""
    handles = axes.get_legend_handles_labels()[0] if handles is None else handles
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
    axes.legend(handles=_in_lines(handles, columns), ncols=columns, **place, **settings)


def _in_lines(entries, columns):
    """Entries in the order that is read by line where matplotlib fills column by column."""
    return [entry for i in range(columns) for entry in entries[i::columns]]


def rank_ticks(axis, number):
    """Ticks of so many classes in the order of their sizes, which stand at 0, 1, ..."""
    step = next(s for k in range(12) for s in (10**k, 2 * 10**k, 5 * 10**k) if number / s <= 6)
    ranks = [1, *(r for r in range(step, number, step) if 1 < r <= number - step / 2), number]
    axis.set_ticks([rank - 1 for rank in ranks], [f"{rank:,}" for rank in ranks])


def log_ticks(axis):
    """Plain numbers at 1, 2 and 5: powers of ten alone leave most axes with one label."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    few = low > 0 and high / low < 200
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=8))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
