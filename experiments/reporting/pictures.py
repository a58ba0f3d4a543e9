"""Pictures of a run, drawn from the files of its directory."""

import io
import pathlib
import sys

import numpy as np

from experiments.cli import UserError
from experiments.reporting import drawing
from experiments.runs import atomic, directory
from experiments.runs.files import DamagedError, read_history

_PICTURES = ("class_counts", "curves", "per_class_accuracy", "confusion_matrix")
_MOST_NAMES = 20  # classes that are called by their names on an axis
_LONGEST_NAME = 24
_COLORS = {"many": "#2f6f9f", "medium": "#e0a030", "few": "#b8433f"}


def draw_all(folder):
    """Writes `plots/*.png` from `config.json`, `history.csv` and `metrics.json` in `folder`.

    Returns:
        Paths of the pictures.
    """
    return _draw(folder, _PICTURES)


def draw_missing(folder):
    """As `draw_all`, but only those that are not there, as after a run that was stopped."""
    plots = pathlib.Path(folder, "plots")
    return _draw(folder, [name for name in _PICTURES if not (plots / f"{name}.png").exists()])


def remove(folder):
    """Deletes the pictures of a run whose figures are about to be others."""
    for name in _PICTURES:
        pathlib.Path(folder, "plots", f"{name}.png").unlink(missing_ok=True)


def _draw(folder, names):
    if not names:
        return []
    folder = pathlib.Path(folder)
    config, metrics = directory.read_finished(folder)
    history = _history(folder / "history.csv")
    draw = {
        "class_counts": lambda: _class_counts(config),
        "curves": lambda: _curves(history, config),
        "per_class_accuracy": lambda: _per_class_accuracy(config, metrics),
        "confusion_matrix": lambda: _confusion_matrix(config, metrics),
    }
    (folder / "plots").mkdir(exist_ok=True)
    paths = [folder / "plots" / f"{name}.png" for name in names]
    _tell_what_is_lacking(config)
    problems = {}
    with drawing.own_settings():
        for name, path in zip(names, paths, strict=True):
            try:
                _save(draw[name](), path)
            except OSError:
                raise
            except Exception as error:  # the others may be drawn all the same
                problems[path.name] = error
    if problems:
        error = next(iter(problems.values()))
        raise UserError(
            f"{', '.join(problems)} in {folder / 'plots'} can't be drawn ({in_a_line(error)})."
        ) from error
    return paths


def in_a_line(error):
    """An error of matplotlib, which may have many lines."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def rehearse():
    """Raises UserError where matplotlib can't draw, before a training finds that at its end."""
    try:
        with drawing.own_settings():
            figure, (axes,) = _figure()
            axes.set_title("text")
            figure.savefig(io.BytesIO(), format="png")
    except Exception as error:  # of its settings, fonts or an installation that is broken
        raise UserError(
            f"--plots: matplotlib can't draw here ({in_a_line(error)}); see to that, or pass "
            "--plots=false."
        ) from error


def _save(figure, path):
    with atomic.appears_whole(path) as temporary:
        figure.savefig(temporary, dpi=120)


def draw_comparison(folders, path):
    """Writes one picture of several methods on the same data: per-class accuracy side by side.

    The bars are means over a method's runs, with their standard deviation.

    Args:
        folders: Dict of label to list of finished run directories, one a seed.
        path: PNG file to write.
    """
    methods = {
        label: [directory.read_finished(run) for run in runs] for label, runs in folders.items()
    }
    config = next(iter(methods.values()))[0][0]
    _tell_what_is_lacking(config)
    with drawing.own_settings():
        _save(_comparison(methods, config), path)


def _comparison(methods, config):
    figure, (left, right) = _figure(10, 3.8 + _room(config), columns=2)
    positions = np.arange(len(config["class_counts"]))
    left.bar(positions, config["class_counts"], color=_bar_colors(config))
    left.set_yscale("log")
    left.set_ylim(bottom=0.8)
    left.set_ylabel("training images")
    _legend(left, config)
    width = 0.8 / len(methods)
    for i, (label, runs) in enumerate(methods.items()):
        accuracies = np.array([_accuracies(metrics) for _, metrics in runs])
        shade = 0.75 - 0.75 * i / max(len(methods) - 1, 1)
        label += f": {np.mean([metrics['balanced_accuracy'] for _, metrics in runs]):.3f}"
        x = positions + (i - (len(methods) - 1) / 2) * width
        spread = {"yerr": accuracies.std(0, ddof=1), "ecolor": "0.5"} if len(runs) > 1 else {}
        right.bar(x, accuracies.mean(0), width, color=str(shade), label=label, **spread)
    right.set_ylim(0, 1.45)
    right.set_yticks(np.linspace(0, 1, 6))
    right.set_ylabel("test accuracy")
    right.legend(frameon=False, loc="upper center", title="balanced accuracy")
    for axes in (left, right):
        _class_axis(axes, config)
    flags = config["flags"]
    seeds = max(len(runs) for runs in methods.values())
    over = f", mean and standard deviation of {seeds} seeds" if seeds > 1 else ""
    figure.suptitle(f"{_text(flags['dataset'])}, {_text(flags['loss'])} loss{over}")
    return figure


def _accuracies(metrics):
    return [np.nan if a is None else a for a in metrics["per_class_accuracy"]]


def _figure(width=7.0, height=4.2, columns=1):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _title(config):
    flags = config["flags"]
    return f"{_text(flags['dataset'])}, {_text(flags['loss'])}, power {flags['cb_power']:g}"


def _text(name):
    return drawing.label(name, 40)


def _bar_colors(config):
    group_of = {c: name for name, ids in config["shot_groups"].items() for c in ids}
    # A run of others' making may not say which classes are few.
    return [_COLORS.get(group_of.get(c), "0.5") for c in range(len(config["class_counts"]))]


def _legend(axes, config):
    from matplotlib.patches import Patch

    handles = [
        Patch(color=_COLORS[name], label=f"{name} shot")
        for name, ids in config["shot_groups"].items()
        if ids
    ]
    axes.legend(handles=handles, frameon=False)


def _labels(config):
    """What the classes are called on an axis; empty where they are too many."""
    names = config["class_names"]
    if len(names) > _MOST_NAMES:
        return []
    boxes = set(drawing.lacking(names))
    names = [f"class {c}" if name in boxes else name for c, name in enumerate(names)]
    return drawing.class_labels(names, _LONGEST_NAME)


def _tell_what_is_lacking(config):
    names = drawing.lacking(config["class_names"])
    if names and len(config["class_names"]) <= _MOST_NAMES:
        print(
            "matplotlib's font lacks letters of some class names, which the pictures show as their "
            f"numbers: {', '.join(' '.join(name.split()) for name in names)}",
            file=sys.stderr,
        )


def _room(config, inches=0.06):
    """Inches that the labels of the classes take, at so many a letter, more than short ones do."""
    return inches * max(0, max(map(len, _labels(config)), default=0) - 5)


def _class_axis(axes, config):
    labels = _labels(config)
    if labels:
        slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        slanted = slanted if max(map(len, labels)) > 3 else {}
        axes.set_xticks(range(len(labels)), labels, **slanted)
    axes.set_xlabel("class")
    axes.spines[["top", "right"]].set_visible(False)


def _class_counts(config):
    figure, (left, right) = _figure(9, 3.8 + _room(config), columns=2)
    positions = range(len(config["class_counts"]))
    left.bar(positions, config["class_counts"], color=_bar_colors(config))
    left.set_yscale("log")
    left.set_ylim(bottom=0.8)
    left.set_ylabel("training images")
    right.bar(positions, config["class_weights"], color=_bar_colors(config))
    right.axhline(1.0, color="0.4", linewidth=0.8, linestyle="--")
    right.set_ylabel("weight in the loss")
    for axes in (left, right):
        _class_axis(axes, config)
    _legend(left, config)
    figure.suptitle(_title(config))
    return figure


def _history(path):
    try:
        return read_history(path, directory.HISTORY_COLUMNS[1:])
    except DamagedError as error:
        raise UserError(f"{path.parent}: {error}; there are no learning curves to draw.") from error


def _column(history, name):
    rows = [(row["epoch"], row[name]) for row in history if row[name] is not None]
    return tuple(zip(*rows, strict=True)) if rows else ((), ())


def _curves(history, config):
    figure, axes = _figure(10, 3.6, columns=3)
    for name, label, style in (("loss", "training", "-"), ("val_loss", "test", ".-")):
        axes[0].plot(*_column(history, name), style, label=label)
    axes[0].set_yscale("log")
    axes[0].set_ylabel("loss with L2 penalty")
    for name, label, style in (
        ("accuracy", "training", "-"),
        ("val_accuracy", "test", ".-"),
        ("val_balanced_accuracy", "test, balanced", ":"),
    ):
        axes[1].plot(*_column(history, name), style, label=label)
    axes[1].set_ylabel("accuracy")
    axes[2].plot(*_column(history, "learning_rate"), color="0.3")
    axes[2].set_yscale("log")
    axes[2].set_ylabel("learning rate")
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[:2]:
        axis.legend(frameon=False)
    figure.suptitle(_title(config))
    return figure


def _per_class_accuracy(config, metrics):
    figure, (axes,) = _figure(height=4.2 + _room(config))
    accuracies = _accuracies(metrics)
    axes.bar(range(len(accuracies)), accuracies, color=_bar_colors(config))
    axes.axhline(metrics["balanced_accuracy"], color="0.3", linestyle="--", linewidth=0.8)
    axes.set_ylim(0, 1)
    axes.set_ylabel("test accuracy (dashed: balanced)")
    _class_axis(axes, config)
    _legend(axes, config)
    figure.suptitle(_title(config))
    return figure


def _confusion_matrix(config, metrics):
    figure, (axes,) = _figure(6 + _room(config, 0.08), 5.2 + _room(config))
    confusion = np.asarray(metrics["confusion_matrix"], "float64")
    rows = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(rows, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the class's test images")
    _class_axis(axes, config)
    labels = _labels(config)
    if labels:
        axes.set_yticks(range(len(labels)), labels)
        for y, x in np.ndindex(rows.shape):
            if confusion[y, x]:
                color = "white" if rows[y, x] > 0.5 else "black"
                axes.text(
                    x,
                    y,
                    f"{confusion[y, x]:.0f}",
                    ha="center",
                    va="center",
                    color=color,
                    fontsize=7,
                )
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    figure.suptitle(_title(config))
    return figure
