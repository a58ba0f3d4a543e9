"""Confusion matrices."""

import numpy as np

from experiments.reporting import drawing


def matrix(series, medium, size=(4.3, 4.3), title=None):
    """Predicted against true class, in percent of the true class, all seeds together.

    Args:
        series: `Series`.
        medium: `drawing.Medium`.
        size: Width and height in inches.
        title: Above it, where nothing else says what it shows.
    """
    confusion = sum(np.asarray(run.metrics["confusion_matrix"], "float64") for run in series.runs)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    names = medium.class_names(series.config)
    figure, (axes,) = drawing.figure(*size)
    axes.grid(False)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if names:
        rotation = 90 if max(map(len, names)) > 2 else 0
        axes.set_xticks(range(len(names)), names, rotation=rotation)
        axes.set_yticks(range(len(names)), names)
        _write_percents(axes, shares)
    else:
        figure.colorbar(image, label="share of the true class", shrink=0.8)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if title:
        figure.suptitle(title)
    return figure


def _write_percents(axes, shares):
    size = 9.5 if len(shares) <= drawing.SVG.most_names else 7.5
    for y, x in np.argwhere(np.round(100 * shares) > 0):
        color = "white" if shares[y, x] > 0.5 else "#30343b"
        text = f"{100 * shares[y, x]:.0f}"
        axes.text(x, y, text, ha="center", va="center", color=color, fontsize=size)
