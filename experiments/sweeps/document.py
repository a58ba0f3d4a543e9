"""The Markdown document of a table: its figures in rows and columns, and what they say."""

import math

from experiments import methods
from experiments.runs import recipe, tails
from experiments.runs.figures import accuracy, counted
from experiments.sweeps.cells import VALIDATION
from experiments.sweeps.claims import seeds_in_words
from experiments.training import flags as train_flags

_FIGURES = {
    "accuracy": "Test accuracy after the last epoch",
    "balanced_accuracy": "Balanced accuracy, the mean of the classes' accuracies",
    "few_accuracy": "Few-shot accuracy, the mean over the smallest classes",
}
_ALL = (
    "Test figures after the last epoch: accuracies, their means over many-, medium- and few-shot "
    "classes, calibration error and log likelihood"
)
_BY = "Balanced accuracy on the images held out of the training set, by which the best is chosen"
_HELD_OUT = f"{_BY}; all other figures are of the test set"
# Differences from the published protocol that rows and columns, or a note of their own, tell.
_TOLD = ("loss", *methods.PARAMETERS, "imbalance_factor", "seed", "train_epochs")


def markdown(outcome, figure):
    """Lines of a Markdown table of one figure of `metrics.json`, accuracies next to the paper's."""
    yield f"| {outcome.table.heading} | {' | '.join(outcome.columns)} |"
    yield "|---" * (len(outcome.columns) + 1) + "|"
    for row in outcome.rows:
        texts = []
        for column in outcome.columns:
            text = str(outcome.statistic(row, column, figure))
            paper = outcome.published(row, column) if figure == "accuracy" else None
            texts.append(text if paper is None else f"{text} (paper {accuracy(paper)})")
        yield f"| {row} | {' | '.join(texts)} |"


def all_figures(outcome):
    """Lines of one Markdown table with a row a cell and a column a figure."""
    table, column = outcome.table, outcome.columns[0]
    # Of CIFAR-10 under one imbalance, which says nothing of other data.
    comparable = all(table.is_reported_on(cell.settings) for cell in outcome.cells)
    others = ["reported elsewhere, 200 epochs, %"] if table.reported and comparable else []
    headings = [table.heading, *table.figures.values(), *others]
    yield f"| {' | '.join(headings)} |"
    yield "|---" * len(headings) + "|"
    for row in outcome.rows:
        texts = [_figure(outcome, row, column, figure) for figure in table.figures]
        texts += [table.reported.get(row) or "" for _ in others]
        yield f"| {row} | {' | '.join(texts)} |"


def _figure(outcome, row, column, figure):
    statistic = outcome.statistic(row, column, figure)
    if figure != "seconds_per_epoch":
        return str(statistic)
    return "" if statistic.mean is None else f"{statistic.mean:.1f}"


def text(outcome, command, notes=(), sentences=()):
    """Text of the document.

    Args:
        outcome: `cells.Outcome`.
        command: The command that made it.
        notes: Paragraphs on how these runs differ from the paper's.
        sentences: What else is said below the claims.
    """
    settings = outcome.cells[0].settings
    seeds = sorted({cell.settings["seed"] for cell in outcome.cells})
    lines = [f"# {outcome.table.title}: {settings['dataset']}, {seeds_in_words(seeds)}", ""]
    lines += [f"    {command}", ""]
    unfinished = len(outcome.cells) - len(outcome.metrics)
    if unfinished:
        lines += [f"{unfinished} of {len(outcome.cells)} runs are not finished yet.", ""]
    for note in notes:
        lines += [note, ""]
    spread = ", mean ± standard deviation over seeds" if len(seeds) > 1 else ""
    if outcome.table.figures:
        by = f"{_BY}; {_ALL[0].lower()}{_ALL[1:]}" if VALIDATION in outcome.table.figures else _ALL
        lines += [f"{by}{spread}:", "", *all_figures(outcome), ""]
    for figure, words in ({} if outcome.table.figures else _FIGURES).items():
        if figure == "balanced_accuracy" and _equals_accuracy(outcome):
            continue
        lines += [f"{words}{spread}:", "", *markdown(outcome, figure), ""]
    if outcome.chosen_by == VALIDATION and VALIDATION not in outcome.table.figures:
        lines += [f"{_HELD_OUT}{spread}:", "", *markdown(outcome, VALIDATION), ""]
    lines += [f"- {sentence}" for sentence in (*outcome.table.claims(outcome), *sentences)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _equals_accuracy(outcome):
    """Whether the test set is balanced, so that the two figures are one."""
    found = outcome.metrics.values()
    return all(math.isclose(m["accuracy"], m["balanced_accuracy"]) for m in found)


def notes(outcome, runs, others=()):
    """Lines on how the runs differ from the published protocol, and from each other.

    Args:
        outcome: `cells.Outcome`.
        runs: List of `results.Run`, those of the table that are finished.
        others: List of those in the folder that are not of the table.
    """
    if differences := ", ".join(_differences(outcome)):
        yield f"Not the published protocol: {differences}."
    rules = [run.shot_rule for run in runs if run.shot_rule not in (None, run.todays_rule)]
    if rules:
        yield (
            f"The few-shot figures of all runs are by one rule, that of today; "
            f"{counted(len(rules), 'run')} recorded them by another "
            f"({', '.join(sorted(set(map(str, rules))))})."
        )
    after = sum(bool(run.metrics.get("posthoc")) for run in others)
    numbers = {"other finished run": len(others) - after, "other evaluation": after}
    texts = [counted(number, what) for what, number in numbers.items() if number]
    if texts:
        yield f"Of this folder results.csv alone has {' and '.join(texts)}."


def _differences(outcome):
    """What of the runs is not the published protocol."""
    protocol, varies = train_flags.protocol_defaults(), outcome.table.varies
    if "train_epochs" not in varies:
        yield from _epochs(outcome.cells, protocol["train_epochs"])
    # Second stages and rows with parts of the strong recipe have settings of their own.
    usual = (c for c in outcome.cells if not (c.by_row or c.first or recipe.is_on(c.settings)))
    cell = next(usual, outcome.cells[0])
    for name, default in protocol.items():
        ours, theirs = _words(cell.settings[name]), _words(default)
        if name not in (*_TOLD, *varies, *cell.by_row) and ours != theirs:
            yield f"{name} {ours} instead of {theirs}"


def _epochs(cells, published):
    """How the epochs of the cells differ from the published ones, those of balanced cells apart.

    Second stages, and rows that choose them, have epochs of their own, which the table tells.
    """
    whole = [c for c in cells if c.first is None and "train_epochs" not in c.by_row]
    if not whole:
        return
    epochs = {tails.is_balanced(c.settings): c.settings["train_epochs"] for c in whole}
    usual = epochs.get(False, epochs.get(True))
    if usual != published:
        yield f"{counted(usual, 'epoch')} instead of {published}"
    if epochs.get(True, usual) != usual:
        yield f"{counted(epochs[True], 'epoch')} for the balanced cells"


def _words(value):
    return ",".join(map(str, value)) if isinstance(value, list) else f"{value}"
