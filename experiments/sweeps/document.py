"""The Markdown document of a table: its figures in rows and columns, and what they say."""

import math

from experiments.runs.figures import accuracy

_FIGURES = {
    "accuracy": "Test accuracy after the last epoch",
    "balanced_accuracy": "Balanced accuracy, the mean of the classes' accuracies",
    "few_accuracy": "Few-shot accuracy, the mean over the smallest classes",
}


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


def text(outcome, command, notes=()):
    """Text of the document.

    Args:
        outcome: `cells.Outcome`.
        command: The command that made it.
        notes: Paragraphs on how these runs differ from the paper's.
    """
    settings = outcome.cells[0].settings
    seeds = sorted({cell.settings["seed"] for cell in outcome.cells})
    lines = [f"# {outcome.table.title}: {settings['dataset']}, {_seeds(seeds)}", ""]
    lines += [f"    {command}", ""]
    unfinished = len(outcome.cells) - len(outcome.metrics)
    if unfinished:
        lines += [f"{unfinished} of {len(outcome.cells)} runs are not finished yet.", ""]
    for note in notes:
        lines += [note, ""]
    spread = ", mean ± standard deviation over seeds" if len(seeds) > 1 else ""
    for figure, words in _FIGURES.items():
        if figure == "balanced_accuracy" and _equals_accuracy(outcome):
            continue
        lines += [f"{words}{spread}:", "", *markdown(outcome, figure), ""]
    lines += [f"- {sentence}" for sentence in outcome.table.claims(outcome)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _seeds(seeds):
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"


def _equals_accuracy(outcome):
    """Whether the test set is balanced, so that the two figures are one."""
    found = outcome.metrics.values()
    return all(math.isclose(m["accuracy"], m["balanced_accuracy"]) for m in found)
