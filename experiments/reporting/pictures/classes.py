"""Classes: how many training images each has, its weight in the loss, its accuracy.

By name, as bars, where one run or a few are shown; by size, as lines, where many are compared.
"""

import numpy as np

from experiments.reporting import drawing
from experiments.reporting.found import split_of
from experiments.reporting.pictures import series as of_series
from experiments.runs.figures import Statistic

MOST_POINTS = 20  # classes on a line; more are averaged with those of similar size
_WORST = 25  # classes that are called by name where not all of them can be
_SHOT_COLORS = {"many": "#2f6f9f", "medium": "#e0a030", "few": "#b8433f"}


# By size


def accuracy_by_size(series, title="power", limits=None):
    """Accuracy of each class against its number of training images, a line a series.

    Args:
        series: List of `Series`.
        title: Of the legend.
        limits: Range of the vertical axis; default: that of these series.
    """
    counts = np.asarray(series[0].config["class_counts"], "float64")
    groups = _similar_classes(counts)
    sizes = [counts[group].mean() for group in groups]
    figure, (axes,) = drawing.figure(4.3, 3.5)
    for one in series:
        points = [_accuracy(one, group) for group in groups]
        line = of_series.line(one.style, one.label)
        axes.errorbar(sizes, _means(points), of_series.deviations(points), **line)
    _size_axis(axes, sizes)
    axes.set_ylim(*(limits or accuracy_range(series)))
    axes.set_ylabel(f"{_split(series[0])} accuracy")
    of_series.legend(figure, axes, title)
    return figure


def accuracy_range(series):
    """0 to 1, and what the error bars of these series need beyond that."""
    low, high = -0.02, 1.02
    for one in series:
        groups = _similar_classes(np.asarray(one.config["class_counts"], "float64"))
        points = [_accuracy(one, group) for group in groups]
        for point in (p for p in points if p.deviation is not None):
            low = min(low, point.mean - point.deviation - 0.02)
            high = max(high, point.mean + point.deviation + 0.02)
    return low, high


def _split(series):
    return split_of(series.runs[0].metrics)


def _means(points):
    return [np.nan if point.mean is None else point.mean for point in points]


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


# By name, the largest class first


def counts_and_weights(one, title):
    """Two panels: training images, and weights in the loss, of each class."""
    config = one.config
    figure, (left, right) = drawing.figure(9.6, 4.0 + room(config), columns=2)
    _count_bars(left, config)
    weights = np.asarray(config["class_weights"], "float64")
    _bars(right, weights[of_series.by_size(config)], config, color=_shots(config))
    right.axhline(1.0, color=drawing.GREY, linewidth=0.8, linestyle="--")
    right.set_ylabel("weight in the loss")
    _name_axis(right, config)
    figure.suptitle(title)
    return figure


def accuracy_by_name(one, title):
    """Accuracy of each class, in the colours of the shot groups.

    Where the classes are too many for their names, a second panel has the least accurate ones.
    """
    config = one.config
    named = drawing.PNG.has_names(config)
    if named:
        figure, (axes,) = drawing.figure(7, 4.2 + room(config))
    else:
        figure, (axes, below) = drawing.figure(
            9, 9.6, rows=2, gridspec_kw={"height_ratios": (1, 1.6)}
        )
        _least_accurate(below, one)
    _accuracy_bars(axes, [one], _shots(config))
    balanced = Statistic.of(run.metrics["balanced_accuracy"] for run in one.runs)
    line = {"color": drawing.GREY, "linestyle": "--", "linewidth": 1}
    axes.axhline(balanced.mean, label="balanced accuracy", **line)
    axes.set_ylim(0, 1)
    axes.set_ylabel(f"{_split(one)} accuracy")
    others = [one for one in axes.get_legend_handles_labels()[0] if one not in axes.containers]
    of_series.above(axes, [*_shot_patches(config), *others])
    figure.suptitle(title)
    return figure


def comparison(series, title):
    """Training images and test accuracy of each class, the bars of the series next to each other.

    The bars are means over a series' runs, with their standard deviation.
    """
    config = series[0].config
    figure, (left, right) = drawing.figure(11, 4.4 + room(config), columns=2)
    _count_bars(left, config)
    _accuracy_bars(right, series)
    right.set_ylim(*accuracy_range(series))
    right.set_ylabel(f"{_split(series[0])} accuracy")
    of_series.above(right, columns=2, title="balanced accuracy", alignment="left")
    figure.suptitle(title)
    return figure


def room(config, inches=0.06):
    """Inches that the labels of the classes take, at so many a letter, more than short ones do."""
    if not drawing.PNG.has_names(config):
        return 0
    return inches * max(0, max(map(len, drawing.PNG.class_names(config)), default=0) - 5)


def _bars(axes, heights, config, positions=None, width=None, **look):
    """A bar a class; where they are many they touch, so that none is thinner than a line."""
    positions = np.arange(len(heights)) if positions is None else positions
    width = (0.8 if drawing.PNG.has_names(config) else 1.0) if width is None else width
    axes.bar(positions, heights, width, **look)
    axes.margins(x=0.02)


def _count_bars(axes, config):
    counts = np.asarray(config["class_counts"], "float64")[of_series.by_size(config)]
    _bars(axes, counts, config, color=_shots(config))
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.8)
    of_series.log_ticks(axes.yaxis)
    axes.set_ylabel("training images")
    _name_axis(axes, config)
    if patches := _shot_patches(config):
        of_series.above(axes, patches)


def _accuracy_bars(axes, series, colors=None):
    config = series[0].config
    order = of_series.by_size(config)
    positions = np.arange(len(order))
    whole = 0.8 if drawing.PNG.has_names(config) or len(series) > 1 else 1.0
    width = whole / len(series)
    for i, one in enumerate(series):
        points = [_accuracy(one, [c]) for c in order]
        spread = of_series.deviations(points)
        look = {"color": colors or one.style.color, "label": one.label}
        look |= {} if spread is None else {"yerr": spread, "ecolor": "0.5"}
        at = positions + (i - (len(series) - 1) / 2) * width
        _bars(axes, _means(points), config, at, width, **look)
    label = f"no {_split(series[0])} images"
    for i in (i for i, c in enumerate(order) if _accuracy(series[0], [c]).mean is None):
        # Else it would look like a class of which no image is right.
        look = {"facecolor": "none", "edgecolor": drawing.GREY, "hatch": "//////", "linewidth": 0}
        axes.axvspan(i - whole / 2, i + whole / 2, label=label, **look)
        label = None
    _name_axis(axes, config)


def _least_accurate(axes, one):
    """Horizontal bars of the classes that most test images are missed of, the worst on top."""
    config = one.config
    points = {int(c): _accuracy(one, [c]) for c in of_series.by_size(config)}
    known = [c for c, point in points.items() if point.mean is not None]
    worst = sorted(known, key=lambda c: points[c].mean)[:_WORST]
    names, counts = drawing.PNG.class_names(config), config["class_counts"]
    color_of = dict(zip(of_series.by_size(config).tolist(), _shots(config), strict=True))
    places = range(len(worst))
    colors = [color_of[c] for c in worst]
    axes.barh(places, [points[c].mean for c in worst], 0.8, color=colors)
    axes.set_yticks(places, [f"{names[c]} ({_whole(counts[c])})" for c in worst], fontsize=9.5)
    for place, c in zip(places, worst, strict=True):
        text = drawing.label(f" {points[c].mean:.2f}", 8)
        axes.text(points[c].mean, place, text, va="center", fontsize=9.5)
    axes.margins(y=0.02)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_xlim(0, 1.04)
    accuracy = f"{_split(one)} accuracy"
    axes.set_xlabel(f"{accuracy} of the {len(worst)} least accurate classes (training images)")


def _whole(count):
    return f"{count:,}" if count < 1e9 else f"{count:.1e}"


def _shots(config):
    """The colours of the classes in the order of their sizes."""
    group_of = {c: name for name, ids in config["shot_groups"].items() for c in ids}
    # config.json written by other tools may not say which classes are few.
    return [
        _SHOT_COLORS.get(group_of.get(c), drawing.GREY) for c in of_series.by_size(config).tolist()
    ]


def _shot_patches(config):
    from matplotlib.patches import Patch

    return [
        Patch(color=_SHOT_COLORS[name], label=f"{name} shot")
        for name in _SHOT_COLORS
        if config["shot_groups"].get(name)
    ]


def _name_axis(axes, config):
    if drawing.PNG.has_names(config):
        names = np.array(drawing.PNG.class_names(config))[of_series.by_size(config)].tolist()
        slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        slanted = slanted if max(map(len, names)) > 3 else {}
        axes.set_xticks(range(len(names)), names, **slanted)
        axes.set_xlabel("class, the largest first")
    else:
        of_series.rank_ticks(axes.xaxis, len(config["class_names"]))
        axes.set_xlabel("rank of the class in training images")
    axes.grid(False, axis="x")
