"""The charts of a report: finished runs in, SVG out, the same bytes from the same runs."""

import base64
import contextlib
import dataclasses
import io

import numpy as np

from experiments.reporting import drawing, report_sections

# Inches. Shown at about 80 % of this on a phone, where the text is still 11 pixels high.
_WIDTH = 4.3
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cb_keras",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#7a808a",
    "axes.labelcolor": "#30343b",
    "xtick.color": "#30343b",
    "ytick.color": "#30343b",
    "axes.grid": True,
    "grid.color": "#e7e9ed",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "lines.markersize": 4.5,
}
_POWER_RAMP = ("#2f4b9b", "#1d9a8a", "#d98a1b", "#b02a3c")
_LOSS_COLORS = ("#5f3f98", "#2c8a50", "#c4572a", "#3a7ca5", "#8a6d1f", "#a23b72")
_MARKERS = "osD^vPX*"
MOST_POINTS = 20  # classes on a chart; more are averaged with those of similar size
_LONGEST_NAME = 11
_MOST_NAMES = 12  # a side of a confusion matrix that still can hold names and numbers


@dataclasses.dataclass(frozen=True)
class Style:
    """How one power, or one loss, is drawn in all charts of a report."""

    color: str
    marker: str


def power_styles(powers):
    """Dict of power to `Style`: along one ramp of colours, so that their order can be seen."""
    powers = sorted(set(powers))
    ramp = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in _POWER_RAMP])
    at = np.linspace(0, len(ramp) - 1, len(powers))
    colors = np.stack([np.interp(at, range(len(ramp)), ramp[:, i]) for i in range(3)], axis=1)
    return {
        power: Style("#" + "".join(f"{round(v):02x}" for v in color), _MARKERS[i % len(_MARKERS)])
        for i, (power, color) in enumerate(zip(powers, colors, strict=True))
    }


def data_uri(svg):
    """The picture as an address that holds it."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def learning_curves(methods, styles):
    """Training loss and test accuracy by epoch; a thin line a seed, a strong one their mean.

    Args:
        methods: `report_sections.Method` of one loss.
        styles: From `power_styles`.

    Returns:
        SVG, as all the functions here.
    """
    with _figure(4.9, rows=2) as (figure, (above, below)):
        for method in methods:
            style = styles[method.power]
            for axes, name, marker in ((above, "loss", ""), (below, "val_accuracy", style.marker)):
                _curve(axes, method, name, style.color, marker)
        above.set_yscale("log")
        _log_ticks(above.yaxis)
        above.set_ylabel("training loss, with L2")
        below.set_ylabel("test accuracy")
        below.set_xlabel("epoch")
        below.sharex(above)
        below.xaxis.get_major_locator().set_params(integer=True)
        _legend(figure, above, "power")
        return _svg(figure)


def _curve(axes, method, name, color, marker):
    columns = [
        {row["epoch"]: row[name] for row in run.history if row[name] is not None}
        for run in method.runs
    ]
    epochs = sorted(set.intersection(*map(set, columns)))
    if len(columns) > 1:
        for column in columns:
            axes.plot(list(column), list(column.values()), color=color, alpha=0.3, linewidth=0.7)
    means = [np.mean([column[epoch] for column in columns]) for epoch in epochs]
    # Marks on every epoch of a long run would hide its line.
    every = max(1, len(epochs) // 12)
    axes.plot(epochs, means, color=color, marker=marker, markevery=every, label=f"{method.power:g}")


def class_accuracy(methods, styles):
    """Accuracy of each class against its number of training images, a line a power."""
    counts = np.asarray(methods[0].runs[0].config["class_counts"], "float64")
    groups = _similar_classes(counts)
    sizes = [counts[group].mean() for group in groups]
    with _figure(3.5) as (figure, (axes,)):
        for method in methods:
            style = styles[method.power]
            points = [_mean_over_classes(method, group) for group in groups]
            axes.errorbar(
                sizes,
                [np.nan if p is None else p.mean for p in points],
                _deviations(points),
                **_line(style, f"{method.power:g}"),
            )
        _class_size_axis(axes, sizes)
        axes.set_ylim(0, 1.02)
        axes.set_ylabel("test accuracy")
        _legend(figure, axes, "power")
        return _svg(figure)


def _similar_classes(counts):
    order = np.argsort(counts, kind="stable")
    return np.array_split(order, len(counts) if len(counts) <= MOST_POINTS else 10)


def _mean_over_classes(method, classes):
    def mean(run):
        values = [run.metrics["per_class_accuracy"][c] for c in classes]
        values = [value for value in values if value is not None]
        return np.mean(values) if values else None

    return report_sections.statistic(map(mean, method.runs))


def power_curve(methods_of_loss, figure_name, label):
    """A figure of `metrics.json` against the power: mean and standard deviation, a line a loss.

    Args:
        methods_of_loss: Dict of loss to methods.
        figure_name: Key of `metrics.json`.
        label: Of the vertical axis.
    """
    with _figure(3.5) as (figure, (axes,)):
        for i, (loss, methods) in enumerate(methods_of_loss.items()):
            style = Style(_LOSS_COLORS[i % len(_LOSS_COLORS)], _MARKERS[i % len(_MARKERS)])
            points = [(m.power, m.over_seeds(figure_name)) for m in methods]
            points = [(power, p) for power, p in points if p is not None]
            axes.errorbar(
                [power for power, _ in points],
                [p.mean for _, p in points],
                _deviations([p for _, p in points]),
                **_line(style, drawing.label(loss, 24)),
            )
        axes.set_xlabel("power")
        axes.set_ylabel(label)
        _legend(figure, axes, columns=3)
        return _svg(figure)


def class_weights(methods, styles):
    """The weights of the loss against the class size, on two log axes."""
    with _figure(3.5) as (figure, (axes,)):
        axes.axhline(1, color="#7a808a", linewidth=0.8)
        for method in methods:
            config = method.runs[0].config
            counts = np.asarray(config["class_counts"], "float64")
            weights = np.asarray(config["class_weights"], "float64")
            order = np.argsort(counts, kind="stable")
            style = styles[method.power]
            line = _line(style, f"{method.power:g}")
            if len(counts) > MOST_POINTS:
                line["marker"] = ""
            axes.errorbar(counts[order], np.where(weights > 0, weights, np.nan)[order], **line)
        _class_size_axis(axes, counts)
        axes.set_yscale("log")
        _log_ticks(axes.yaxis)
        axes.set_ylabel("weight in the loss")
        _legend(figure, axes, "power")
        return _svg(figure)


def confusion_matrix(method):
    """Predicted against true class, in percent of the true class, all seeds together."""
    confusion = sum(np.asarray(run.metrics["confusion_matrix"], "float64") for run in method.runs)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    names = drawing.class_labels(method.runs[0].config["class_names"], _LONGEST_NAME)
    with _figure(4.3) as (figure, (axes,)):
        axes.grid(False)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        if len(names) <= _MOST_NAMES:
            rotation = 90 if max(map(len, names)) > 2 else 0
            axes.set_xticks(range(len(names)), names, rotation=rotation)
            axes.set_yticks(range(len(names)), names)
            for y, x in np.argwhere(np.round(100 * shares) > 0):
                color = "white" if shares[y, x] > 0.5 else "#30343b"
                text = f"{100 * shares[y, x]:.0f}"
                axes.text(x, y, text, ha="center", va="center", color=color, fontsize=9.5)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        return _svg(figure)


@contextlib.contextmanager
def _figure(height, rows=1):
    """A figure and its axes, under our settings whatever the user's matplotlibrc says."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # The reader's fonts draw the text; that ours lacks a letter does not matter.
    with drawing.own_settings(**_SETTINGS):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.subplots(rows, 1, squeeze=False)[:, 0]


def _svg(figure):
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _line(style, label):
    return {
        "color": style.color,
        "marker": style.marker,
        "linewidth": 1.4,
        "elinewidth": 1,
        "capsize": 2.5,
        "label": label,
    }


def _legend(figure, axes, title=None, columns=4):
    from matplotlib.lines import Line2D

    entries = list(zip(*axes.get_legend_handles_labels(), strict=True))
    # matplotlib fills column by column; the eye reads line by line.
    entries = [entry for i in range(columns) for entry in entries[i::columns]]
    heading = {}
    if len(entries) > columns:
        heading = {"title": title, "alignment": "left"}
    elif title and entries:  # in the line of the labels, where it takes no line of its own
        entries, columns = [(Line2D([], [], linestyle=""), title), *entries], columns + 1
    handles, labels = [h for h, _ in entries], [text for _, text in entries]
    figure.legend(handles, labels, loc="outside upper left", ncols=columns, **heading)


def _deviations(points):
    """Lengths of the error bars; None where there is one seed throughout, and so no bar."""
    if all(p is None or p.sd is None for p in points):
        return None
    return [0 if p is None or p.sd is None else p.sd for p in points]


def _class_size_axis(axes, sizes):
    if min(sizes) > 0:
        axes.set_xscale("log")
    else:
        axes.set_xscale("symlog", linthresh=1)
    _log_ticks(axes.xaxis)
    axes.set_xlabel("training images of the class")


def _log_ticks(axis):
    """Plain numbers at 1, 2 and 5: powers of ten alone leave most axes with one label."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    few = low > 0 and high / low < 200
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=8))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
