"""Learning curves: what `history.csv` holds, by epoch."""

import dataclasses

import numpy as np

from experiments.reporting import drawing
from experiments.reporting.found import split_of_history
from experiments.reporting.pictures import series as of_series


@dataclasses.dataclass(frozen=True)
class Panel:
    """One panel of learning curves.

    Attributes:
        label: Of the vertical axis; "{split}" stands for the images that were evaluated.
        columns: Dict of column of `history.csv` to its name in the legend, as `label`.
        log: Whether the vertical axis is logarithmic.
    """

    label: str
    columns: dict
    log: bool = False


TO_COMPARE = (
    Panel("training loss, with L2", {"loss": ""}, log=True),
    Panel("{split} accuracy", {"val_accuracy": ""}),
)
OF_A_RUN = (
    Panel("loss, with L2", {"loss": "training", "val_loss": "{split}"}, log=True),
    Panel(
        "accuracy",
        {
            "accuracy": "training",
            "val_accuracy": "{split}",
            "val_balanced_accuracy": "{split}, balanced",
        },
    ),
    Panel("learning rate", {"learning_rate": ""}, log=True),
)
# How the columns of one panel are told apart: colour (else that of the series) and dashes.
_TRAINING = (drawing.GREY, "-")
_LOOKS = {"val_balanced_accuracy": ("#d98a1b", ":")}


def above_each_other(series, title="power", limits=None):
    """Training loss and test accuracy: a thin line a seed, a strong one their mean.

    What no run measured has no panel: of runs that were never evaluated, their accuracy.

    Args:
        series: List of `Series`.
        title: Of the legend.
        limits: `ranges` of all that is shown next to it, so that they can be compared.
    """
    panels = [panel for panel in TO_COMPARE if is_measured(panel, series)] or TO_COMPARE[:1]
    figure, axes = drawing.figure(4.3, 0.7 + 2.1 * len(panels), rows=len(panels), sharex=True)
    for panel, panel_axes in zip(panels, axes, strict=True):
        for one in series:
            for column in panel.columns:
                _draw(panel_axes, one, column, (one.style.color, "-"), one.label)
        panel_axes.tick_params(labelbottom=True)
    _finish(panels, axes, _split(series[0]), limits or {})
    for panel_axes in axes[:-1]:
        panel_axes.set_xlabel("")
    of_series.legend(figure, axes[0], title)
    return figure


def by_label(series):
    """Training loss and test accuracy of every label, a column each, all with the same scales.

    Args:
        series: Dict of label to list of `Series`.
    """
    everything = [one for of_label in series.values() for one in of_label]
    panels = [panel for panel in TO_COMPARE if is_measured(panel, everything)] or TO_COMPARE[:1]
    limits, columns = ranges(everything), len(series)
    size = (3.6 * columns + 0.4, 2.6 * len(panels) + 0.6)
    figure, axes = drawing.figure(*size, rows=len(panels), columns=columns, sharex=True)
    for i, (label, of_label) in enumerate(series.items()):
        own = axes[i::columns]
        for panel, panel_axes in zip(panels, own, strict=True):
            for one in of_label:
                for column in panel.columns:
                    _draw(panel_axes, one, column, (one.style.color, "-"), one.label)
        _finish(panels, own, _split(of_label[0]), limits)
        own[0].set_title(drawing.label(label, 30), fontsize=11)
        for panel_axes in own[:-1]:
            panel_axes.set_xlabel("")
        if i:
            for panel_axes in own:
                panel_axes.set_ylabel("")
    known = [axis.get_legend_handles_labels() for axis in axes[:columns]]
    entries = {text: handle for pair in known for handle, text in zip(*pair, strict=True)}
    order = sorted(everything, key=lambda one: one.runs[0].power or 0)
    labels = dict.fromkeys(one.label for one in order)
    of_series.legend_of(figure, [(entries[text], text) for text in labels], "power")
    return figure


def side_by_side(one, title):
    """All columns of one series, each panel with a legend of its own."""
    panels = [panel for panel in OF_A_RUN if is_measured(panel, [one])] or OF_A_RUN[:1]
    figure, axes = drawing.figure(3.9 * len(panels), 4.1, columns=len(panels))
    for panel, panel_axes in zip(panels, axes, strict=True):
        for column, name in panel.columns.items():
            if len(panel.columns) > 1 and not _points(one, column):
                continue
            own = (one.style.color, "-")
            if len(panel.columns) > 1:
                own = _LOOKS.get(column, own if column.startswith("val_") else _TRAINING)
            _draw(panel_axes, one, column, own, name.format(split=_split(one)))
        if len(panel.columns) > 1:
            of_series.above(panel_axes, columnspacing=0.9)
    _finish(panels, axes, _split(one), {})
    figure.suptitle(title)
    return figure


def is_measured(panel, series):
    """Whether any run has a value to draw there."""
    return any(_points(one, column) for one in series for column in panel.columns)


def ranges(series):
    """Dict of panel to the range of the values of all these series, with a margin.

    Args:
        series: Those of all pictures that stand side by side.
    """
    found = {}
    for panel in TO_COMPARE:
        values = [v for one in series for c in panel.columns for v in _points(one, c)]
        values = [v for v in values if v > 0 or not panel.log]
        if values and max(values) > min(values):
            scale, back = (np.log, np.exp) if panel.log else (np.asarray, np.asarray)
            low, high = scale([min(values), max(values)])
            margin = 0.05 * (high - low)
            found[panel.label] = tuple(float(v) for v in back([low - margin, high + margin]))
    return found


def _split(series):
    return split_of_history(series.runs[0].metrics)


def _points(series, column):
    """All values of a column, of all runs."""
    return [
        row[column] for run in series.runs for row in run.history if row.get(column) is not None
    ]


def _draw(axes, series, column, look, label):
    color, dashes = look
    points = [
        {row["epoch"]: row[column] for row in run.history if row[column] is not None}
        for run in series.runs
    ]
    epochs = sorted(set.intersection(*map(set, points)))
    if len(points) > 1:
        for of_run in points:
            axes.plot(list(of_run), list(of_run.values()), color=color, alpha=0.3, linewidth=0.7)
    means = [np.mean([of_run[epoch] for of_run in points]) for epoch in epochs]
    # Marks on every epoch of a long run would hide its line.
    every = max(1, len(epochs) // 12)
    marker = series.style.marker if column.startswith("val_") else ""
    axes.plot(epochs, means, dashes, color=color, marker=marker, markevery=every, label=label)


def _finish(panels, axes, split, limits):
    for panel, panel_axes in zip(panels, axes, strict=True):
        if panel.log:
            panel_axes.set_yscale("log")
        if panel.label in limits:
            panel_axes.set_ylim(*limits[panel.label])
        if panel.log:
            of_series.log_ticks(panel_axes.yaxis)
        panel_axes.set_ylabel(panel.label.format(split=split))
        panel_axes.set_xlabel("epoch")
        panel_axes.xaxis.get_major_locator().set_params(integer=True)
