"""Learning curves: what `history.csv` holds, by epoch."""

import dataclasses

import numpy as np

from experiments.reporting import drawing
from experiments.reporting.pictures import series as of_series


@dataclasses.dataclass(frozen=True)
class Panel:
    """One panel of learning curves.

    Attributes:
        label: Of the vertical axis.
        columns: Dict of column of `history.csv` to its name in the legend.
        log: Whether the vertical axis is logarithmic.
    """

    label: str
    columns: dict
    log: bool = False


TO_COMPARE = (
    Panel("training loss, with L2", {"loss": ""}, log=True),
    Panel("test accuracy", {"val_accuracy": ""}),
)
OF_A_RUN = (
    Panel("loss, with L2", {"loss": "training", "val_loss": "test"}, log=True),
    Panel(
        "accuracy",
        {
            "accuracy": "training",
            "val_accuracy": "test",
            "val_balanced_accuracy": "test, balanced",
        },
    ),
    Panel("learning rate", {"learning_rate": ""}, log=True),
)
# How the columns of one panel are told apart: colour (else that of the series) and dashes.
_TRAINING = (drawing.GREY, "-")
_LOOKS = {"val_balanced_accuracy": ("#d98a1b", ":")}


def above_each_other(series, title="power"):
    """Training loss and test accuracy: a thin line a seed, a strong one their mean.

    Args:
        series: List of `Series`.
        title: Of the legend.
    """
    figure, axes = drawing.figure(4.3, 4.9, rows=2)
    for panel, panel_axes in zip(TO_COMPARE, axes, strict=True):
        for one in series:
            for column in panel.columns:
                _draw(panel_axes, one, column, (one.style.color, "-"), one.label)
    _finish(TO_COMPARE, axes)
    axes[0].set_xlabel("")
    axes[1].sharex(axes[0])
    of_series.legend(figure, axes[0], title)
    return figure


def side_by_side(one, title):
    """All columns of one series, each panel with a legend of its own."""
    figure, axes = drawing.figure(11.5, 3.9, columns=len(OF_A_RUN))
    for panel, panel_axes in zip(OF_A_RUN, axes, strict=True):
        for column, name in panel.columns.items():
            own = (one.style.color, "-")
            if len(panel.columns) > 1:
                own = _LOOKS.get(column, own if column.startswith("val_") else _TRAINING)
            _draw(panel_axes, one, column, own, name)
        if len(panel.columns) > 1:
            panel_axes.legend()
    _finish(OF_A_RUN, axes)
    figure.suptitle(title)
    return figure


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


def _finish(panels, axes):
    for panel, panel_axes in zip(panels, axes, strict=True):
        if panel.log:
            panel_axes.set_yscale("log")
            of_series.log_ticks(panel_axes.yaxis)
        panel_axes.set_ylabel(panel.label)
        panel_axes.set_xlabel("epoch")
        panel_axes.xaxis.get_major_locator().set_params(integer=True)
