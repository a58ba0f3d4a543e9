"""The pictures of a run, drawn from the files of its directory, as PNG."""

import pathlib
import sys

from experiments.cli import UserError, in_a_line
from experiments.reporting import drawing
from experiments.reporting.found import Run
from experiments.reporting.pictures import classes, confusion, curves, reliability
from experiments.reporting.pictures.series import MARKERS, Series, Style
from experiments.runs import directory, figures, schema
from experiments.runs.files import DamagedError, read_history

_MOST_TOLD = 20  # class names in a line
_STYLE = Style("#2f4b9b", MARKERS[0])


def _confusion(one, title):
    more = classes.room(one.config, 0.08)
    size = (6 + more, 5.4 + more) if drawing.PNG.has_names(one.config) else (8.4, 7.2)
    return confusion.matrix(one, drawing.PNG, size, f"{title}\npercent of the true class")


def _pairs(one, title):
    height = 2 + 0.26 * len(confusion.most_confused(one))
    return confusion.pairs(one, drawing.PNG, (8, max(2.7, height)), f"{title}\nmost confused")


def _reliability(one, title):
    return reliability.diagram([one], heading=title)


def _always(one):
    del one
    return True


# Each with the question whether a run has what it shows.
_PICTURES = {
    "class_counts": (classes.counts_and_weights, _always),
    "curves": (curves.side_by_side, _always),
    "per_class_accuracy": (classes.accuracy_by_name, _always),
    "confusion_matrix": (_confusion, confusion.is_known),
    "confused_pairs": (
        _pairs,
        lambda one: confusion.is_known(one) and confusion.most_confused(one),
    ),
    "reliability": (_reliability, reliability.is_known),
}


def draw_all(folder):
    """Writes `plots/*.png` from `config.json`, `history.csv` and `metrics.json` in `folder`.

    Returns:
        Paths of the pictures.

    Raises:
        UserError: It does not hold a finished run, or some of the pictures can't be drawn.
    """
    return _draw(folder, _PICTURES)


def draw_missing(folder):
    """As `draw_all`, but only those that are not there, as after a run that was stopped."""
    plots = pathlib.Path(folder, "plots")
    return _draw(folder, [name for name in _PICTURES if not (plots / f"{name}.png").exists()])


def remove(folder):
    """Deletes the pictures of a run whose metrics are about to change."""
    for name in _PICTURES:
        pathlib.Path(folder, "plots", f"{name}.png").unlink(missing_ok=True)


def _draw(folder, names):
    if not names:
        return []
    folder = pathlib.Path(folder)
    run = _read(folder)
    one = Series("", [run], _STYLE)
    names = [name for name in names if _PICTURES[name][1](one)]
    if not names:
        return []
    (folder / "plots").mkdir(exist_ok=True)
    paths = [folder / "plots" / f"{name}.png" for name in names]
    _report_lacking_letters(run.config)
    problems = {}
    for name, path in zip(names, paths, strict=True):
        try:
            drawing.write_png(path, _PICTURES[name][0], one, _title(run))
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


def _read(folder):
    config, metrics = directory.read_finished(folder)
    try:
        history = read_history(folder / schema.HISTORY, directory.HISTORY_COLUMNS[1:])
    except DamagedError as error:
        raise UserError(f"{folder}: {error}; there are no learning curves to draw.") from error
    return Run(folder.name, config, metrics, history)


def rehearse():
    """Raises UserError where matplotlib can't draw, before a training finds that at its end."""
    try:
        with drawing.own_settings(**drawing.SETTINGS):
            figure, (axes,) = drawing.figure(7, 4.2)
            axes.set_title("text")
            drawing.png(figure)
    except Exception as error:  # of its settings, fonts or an installation that is broken
        raise UserError(
            f"--plots: matplotlib can't draw here ({in_a_line(error)}); see to that, or pass "
            "--plots=false."
        ) from error


def draw_comparison(folders, path):
    """Writes one picture of several methods on the same data: per-class accuracy side by side.

    Args:
        folders: Dict of label to list of finished run directories, one a seed.
        path: PNG file to write.
    """
    series = []
    for i, (label, of_label) in enumerate(folders.items()):
        runs = [Run(str(f), *directory.read_finished(f), history=[]) for f in of_label]
        balanced = figures.Statistic.of(run.metrics["balanced_accuracy"] for run in runs)
        shade = str(0.75 - 0.75 * i / max(len(folders) - 1, 1))
        series.append(Series(f"{label}: {balanced}", runs, Style(shade, "")))
    first = series[0].runs[0]
    _report_lacking_letters(first.config)
    seeds = max(len(one.runs) for one in series)
    over = f", mean and standard deviation of {seeds} seeds" if seeds > 1 else ""
    title = f"{_text(first.flags['dataset'])}, {_text(first.flags['loss'])} loss{over}"
    drawing.write_png(path, classes.comparison, series, title)


def _title(run):
    power = "" if run.power is None else f", power {figures.setting(run.power)}"
    return f"{_text(run.flags['dataset'])}, {_text(run.label)}{power}"


def _text(name):
    return drawing.label(name, 40)


def _report_lacking_letters(config):
    names = drawing.lacking(config["class_names"])
    if names:
        shown = [" ".join(name.split()) for name in names[:_MOST_TOLD]]
        shown += ["..."] if len(names) > _MOST_TOLD else []
        print(
            "matplotlib's font lacks letters of some class names, which the pictures show as their "
            f"numbers: {', '.join(shown)}",
            file=sys.stderr,
        )
