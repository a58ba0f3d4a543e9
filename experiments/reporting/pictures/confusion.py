"""What is taken for what: confusion matrices, and the pairs of classes that are confused most."""

import numpy as np

from experiments.reporting import drawing
from experiments.reporting.pictures import series as of_series

_COLOR = (0.18, 0.50, 0.84)
_MOST_CELLS = 100  # in a row; of more classes, those of similar size share a row
_PAIRS = 20


def matrix(series, medium, size=(4.3, 4.3), title=None):
    """Predicted against true class, in percent of the true class, all seeds together.

    Classes are in the order of their sizes, the largest first.

    Args:
        series: `Series`.
        medium: `drawing.Medium`.
        size: Width and height in inches.
        title: Above it, where nothing else says what it shows.
    """
    config = series.config
    order = of_series.by_size(config)
    shares = _shares(_counts(series))[np.ix_(order, order)]
    figure, (axes,) = drawing.figure(*size)
    axes.grid(False)
    if medium.has_names(config):
        axes.imshow(shares, cmap=_colors(), vmin=0, vmax=1)
        names = np.array(medium.class_names(config))[order].tolist()
        axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0)
        axes.set_yticks(range(len(names)), names)
        _write_percents(axes, shares)
        of = "class"
    else:
        of = _draw_many(figure, axes, shares)
    axes.set_xlabel(f"predicted {of}")
    axes.set_ylabel(f"true {of}")
    if title:
        figure.suptitle(title)
    return figure


def pairs(series, medium, size=(4.3, 4.3), title=None):
    """The pairs of classes of which the largest shares are taken for each other, as sorted bars.

    Args:
        series: As for `matrix`, and the others.
        medium: As for `matrix`.
        size: As for `matrix`.
        title: As for `matrix`.
    """
    names = medium.class_names(series.config)
    found = most_confused(series)
    places = range(len(found))
    figure, (axes,) = drawing.figure(*size)
    axes.barh(places, [wrong / of for _, _, wrong, of in found], 0.78, color="#b8433f")
    labels = [f"{names[true]} → {names[predicted]}" for true, predicted, _, _ in found]
    axes.set_yticks(places, labels, fontsize=9)
    for place, (_, _, wrong, of) in zip(places, found, strict=True):
        axes.text(wrong / of, place, f" {wrong:.0f} of {of:.0f}", va="center", fontsize=8.5)
    axes.margins(y=0.02)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_xlim(0, 1.22 * max(wrong / of for _, _, wrong, of in found))
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f}%")
    axes.set_xlabel("share of the true class")
    if title:
        figure.suptitle(title)
    return figure


def is_known(series):
    """Whether the runs kept their confusion matrix; of very many classes they do not."""
    return all(run.metrics["confusion_matrix"] is not None for run in series.runs)


def most_confused(series, most=_PAIRS):
    """`(true class, predicted class, images, images of the true class)`, largest shares first.

    All seeds together; of equal shares those of more images, then by the ids of the classes.
    """
    confusion = _counts(series)
    totals = confusion.sum(axis=1)
    wrong = _shares(confusion)
    np.fill_diagonal(wrong, 0)
    true, predicted = np.nonzero(wrong)
    places = np.lexsort((predicted, true, -confusion[true, predicted], -wrong[true, predicted]))
    return [
        (int(true[i]), int(predicted[i]), confusion[true[i], predicted[i]], totals[true[i]])
        for i in places[:most]
    ]


def _counts(series):
    return sum(np.asarray(run.metrics["confusion_matrix"], "float64") for run in series.runs)


def _shares(confusion):
    return confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)


def _colors():
    """From nothing to one blue: what lies below shows through, so that it fits a dark page."""
    from matplotlib.colors import ListedColormap

    return ListedColormap([(*_COLOR, alpha) for alpha in (0, *np.linspace(0.12, 1, 255))])


def _draw_many(figure, axes, shares):
    """Many classes without their names; returns what a row stands for."""
    from matplotlib.colors import PowerNorm
    from matplotlib.ticker import PercentFormatter

    classes = len(shares)
    of = "class, by rank of size"
    if classes <= _MOST_CELLS:
        of_series.rank_ticks(axes.xaxis, classes)
        of_series.rank_ticks(axes.yaxis, classes)
    else:
        groups = np.array_split(np.arange(classes), _MOST_CELLS // 2)
        shares = np.array(
            [[shares[np.ix_(a, b)].sum(axis=1).mean() for b in groups] for a in groups]
        )
        of = f"classes of similar size, {len(groups[0])} a row, the largest first"
    # Square roots of the shares: else a confusion of a few percent can't be seen.
    norm = PowerNorm(0.5, vmin=0, vmax=1)
    image = axes.imshow(shares, cmap=_colors(), norm=norm, interpolation="nearest")
    bar = figure.colorbar(image, shrink=0.8, format=PercentFormatter(1))
    bar.set_ticks([0, 0.01, 0.05, 0.2, 0.5, 1])
    bar.set_label("share of the true class")
    return of


def _write_percents(axes, shares):
    size = 9.5 if len(shares) <= drawing.SVG.most_names else 7.5
    for y, x in np.argwhere(np.round(100 * shares) > 0):
        color = "white" if shares[y, x] > 0.5 else "#30343b"
        text = f"{100 * shares[y, x]:.0f}"
        axes.text(x, y, text, ha="center", va="center", color=color, fontsize=size)
