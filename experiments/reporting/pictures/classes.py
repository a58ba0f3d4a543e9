"""Classes: how many training images each has, its weight in the loss, its accuracy.

By name, as bars, where one run or a few are shown; by size, as lines, where many are compared.
"""

import numpy as np

from experiments.reporting import drawing
from experiments.reporting.pictures import series as of_series
from experiments.runs.figures import Statistic

MOST_POINTS = 20  # classes on a line; more are averaged with those of similar size
_SHOT_COLORS = {"many": "#2f6f9f", "medium": "#e0a030", "few": "#b8433f"}


# By size


def accuracy_by_size(series, title="power"):
    """Accuracy of each class against its number of training images, a line a series."""
    counts = np.asarray(series[0].config["class_counts"], "float64")
    groups = _similar_classes(counts)
    sizes = [counts[group].mean() for group in groups]
    figure, (axes,) = drawing.figure(4.3, 3.5)
    for one in series:
        points = [_accuracy(one, group) for group in groups]
        means = [np.nan if p.mean is None else p.mean for p in points]
        line = of_series.line(one.style, one.label)
        axes.errorbar(sizes, means, of_series.deviations(points), **line)
    _size_axis(axes, sizes)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("test accuracy")
    of_series.legend(figure, axes, title)
    return figure


def weights_by_size(series, title="power"):
    """The weights of the loss against the class size, on two log axes, a line a series."""
    figure, (axes,) = drawing.figure(4.3, 3.5)
    axes.axhline(1, color=drawing.GREY, linewidth=0.8)
    for one in series:
        counts = np.asarray(one.config["class_counts"], "float64")
        weights = np.asarray(one.config["class_weights"], "float64")
        order = np.argsort(counts, kind="stable")
        line = of_series.line(one.style, one.label)
        if len(counts) > MOST_POINTS:
            line["marker"] = ""
        axes.errorbar(counts[order], np.where(weights > 0, weights, np.nan)[order], **line)
    _size_axis(axes, counts)
    axes.set_yscale("log")
    of_series.log_ticks(axes.yaxis)
    axes.set_ylabel("weight in the loss")
    of_series.legend(figure, axes, title)
    return figure


def _similar_classes(counts):
    order = np.argsort(counts, kind="stable")
    return np.array_split(order, len(counts) if len(counts) <= MOST_POINTS else 10)


def _accuracy(series, classes):
    """`Statistic` over the runs of the mean accuracy of some classes."""

    def mean(run):
        values = [run.metrics["per_class_accuracy"][c] for c in classes]
        values = [value for value in values if value is not None]
        return np.mean(values) if values else None

    return Statistic.of(map(mean, series.runs))


def _size_axis(axes, sizes):
    if min(sizes) > 0:
        axes.set_xscale("log")
    else:
        axes.set_xscale("symlog", linthresh=1)
    of_series.log_ticks(axes.xaxis)
    axes.set_xlabel("training images of the class")


# By name


def counts_and_weights(one, title):
    """Two panels: training images, and weights in the loss, of each class."""
    config = one.config
    figure, (left, right) = drawing.figure(9, 3.8 + room(config), columns=2)
    _count_bars(left, config)
    right.bar(range(len(config["class_weights"])), config["class_weights"], color=_shots(config))
    right.axhline(1.0, color=drawing.GREY, linewidth=0.8, linestyle="--")
    right.set_ylabel("weight in the loss")
    _name_axis(right, config)
    figure.suptitle(title)
    return figure


def accuracy_by_name(one, title):
    """Test accuracy of each class, in the colours of the shot groups."""
    config = one.config
    figure, (axes,) = drawing.figure(7, 4.2 + room(config))
    _accuracy_bars(axes, [one], _shots(config))
    balanced = Statistic.of(run.metrics["balanced_accuracy"] for run in one.runs)
    axes.axhline(balanced.mean, color=drawing.GREY, linestyle="--", linewidth=1)
    axes.set_ylim(0, 1)
    axes.set_ylabel("test accuracy (dashed: balanced)")
    _shot_legend(figure, config, loc="outside lower center", ncols=3)
    figure.suptitle(title)
    return figure


def comparison(series, title):
    """Training images and test accuracy of each class, the bars of the series next to each other.

    The bars are means over a series' runs, with their standard deviation.
    """
    config = series[0].config
    figure, (left, right) = drawing.figure(10, 3.8 + room(config), columns=2)
    _count_bars(left, config)
    _accuracy_bars(right, series)
    right.set_ylim(0, 1.45)
    right.set_yticks(np.linspace(0, 1, 6))
    right.set_ylabel("test accuracy")
    right.legend(loc="upper center", title="balanced accuracy")
    figure.suptitle(title)
    return figure


def room(config, inches=0.06):
    """Inches that the labels of the classes take, at so many a letter, more than short ones do."""
    return inches * max(0, max(map(len, drawing.PNG.class_names(config)), default=0) - 5)


def _count_bars(axes, config):
    axes.bar(range(len(config["class_counts"])), config["class_counts"], color=_shots(config))
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.8)
    of_series.log_ticks(axes.yaxis)
    axes.set_ylabel("training images")
    _name_axis(axes, config)
    _shot_legend(axes, config)


def _accuracy_bars(axes, series, colors=None):
    positions = np.arange(len(series[0].config["class_counts"]))
    width = 0.8 / len(series)
    for i, one in enumerate(series):
        points = [_accuracy(one, [c]) for c in positions]
        means = [np.nan if p.mean is None else p.mean for p in points]
        spread = of_series.deviations(points)
        bars = {"color": colors or one.style.color, "label": one.label}
        bars |= {} if spread is None else {"yerr": spread, "ecolor": "0.5"}
        axes.bar(positions + (i - (len(series) - 1) / 2) * width, means, width, **bars)
    _name_axis(axes, series[0].config)


def _shots(config):
    group_of = {c: name for name, ids in config["shot_groups"].items() for c in ids}
    # config.json written by other tools may not say which classes are few.
    return [
        _SHOT_COLORS.get(group_of.get(c), drawing.GREY) for c in range(len(config["class_counts"]))
    ]


def _shot_legend(where, config, **place):
    from matplotlib.patches import Patch

    handles = [
        Patch(color=_SHOT_COLORS[name], label=f"{name} shot")
        for name, ids in config["shot_groups"].items()
        if ids
    ]
    if handles:
        where.legend(handles=handles, **place)


def _name_axis(axes, config):
    names = drawing.PNG.class_names(config)
    if names:
        slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        slanted = slanted if max(map(len, names)) > 3 else {}
        axes.set_xticks(range(len(names)), names, **slanted)
    axes.grid(False, axis="x")
    axes.set_xlabel("class")
