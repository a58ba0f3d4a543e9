"""Tables of many runs: results.csv, Markdown, and the order of the rows and columns in words."""

import csv
import dataclasses
import io
import itertools
import math
import statistics

from experiments.sweeps import grid

RESULT_COLUMNS = (
    *("dataset", "method", "loss", "cb_power", "cb_beta", "gamma", "imbalance_factor", "seed"),
    *("epochs", "accuracy", "balanced_accuracy", "few_accuracy", "train_seconds"),
    "images_per_second",
)
_PAPER_TERM_ORDER = ("CB", "sqrt", "none", "squared")


@dataclasses.dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation of one figure over seeds; None where unknown."""

    values: tuple

    @property
    def mean(self):
        """Mean, or None without values."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def deviation(self):
        """Sample standard deviation, or None with fewer than two values."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def __str__(self):
        if self.mean is None:
            return "-"
        text = number(self.mean)
        return text if self.deviation is None else f"{text} ± {number(self.deviation)}"


def number(value):
    """Four decimals without the leading zero, as the papers print accuracies."""
    return f"{value:.4f}".replace("0.", ".", 1) if value < 1 else f"{value:.4f}"


def results_csv(runs):
    """Text of `results.csv`.

    Args:
        runs: List of `(settings, metrics)` of finished runs.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, RESULT_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    rows = [
        {
            **{key: "" if value is None else value for key, value in metrics.items()},
            **settings,  # after the metrics, whose `loss` is a number
            "method": "class_balanced",
            # A natural tail has no factor, a loss other than focal no gamma.
            "gamma": settings["gamma"] if settings["loss"] == "focal" else "",
            "imbalance_factor": ""
            if settings["long_tail"] == "natural"
            else settings["imbalance_factor"],
        }
        for settings, metrics in runs
    ]
    rows.sort(key=lambda row: [str(row[column]) for column in RESULT_COLUMNS[:9]])
    writer.writerows(rows)
    return text.getvalue()


class Table:
    """The finished cells of a grid.

    Args:
        name: `1`, `2` or `power`.
        cells: List of `grid.Cell`.
        metrics: Dict of position in `cells` to `metrics.json` of its run.
    """

    def __init__(self, name, cells, metrics):
        self.name = name
        self.cells = cells
        self.metrics = metrics
        self.rows = list(dict.fromkeys(cell.row for cell in cells))
        self.columns = list(dict.fromkeys(cell.column for cell in cells))

    def at(self, row, column):
        """The grid's cells there, one a seed."""
        return [cell for cell in self.cells if (cell.row, cell.column) == (row, column)]

    def summary(self, row, column, figure):
        """`Summary` over the seeds that are finished."""
        values = (
            self.metrics[i][figure]
            for i, cell in enumerate(self.cells)
            if i in self.metrics and (cell.row, cell.column) == (row, column)
        )
        return Summary(tuple(value for value in values if value is not None))

    def markdown(self, figure, published=False):
        """Lines of a Markdown table of one figure of `metrics.json`."""
        yield f"| {'power' if self.name == 'power' else 'loss'} | {' | '.join(self.columns)} |"
        yield "|---" * (len(self.columns) + 1) + "|"
        for row in self.rows:
            texts = []
            for column in self.columns:
                text = str(self.summary(row, column, figure))
                paper = self.at(row, column)[0].published
                texts.append(f"{text} (paper {number(paper)})" if published and paper else text)
            yield f"| {row} | {' | '.join(texts)} |"


def document(table, command, notes=()):
    """Text of `table1.md`, `table2.md` or `power.md`.

    Args:
        table: `Table`.
        command: The command that made it.
        notes: Paragraphs on how these runs differ from the paper's.
    """
    settings = table.cells[0].settings
    seeds = sorted({cell.settings["seed"] for cell in table.cells})
    title = "The power of the class-balanced term" if table.name == "power" else "Table"
    number_of_table = "" if table.name == "power" else f" {table.name}"
    lines = [f"# {title}{number_of_table}: {settings['dataset']}, {_seeds(seeds)}", ""]
    lines += [f"    {command}", ""]
    unfinished = len(table.cells) - len(table.metrics)
    if unfinished:
        lines += [f"{unfinished} of {len(table.cells)} runs are not finished yet.", ""]
    for note in notes:
        lines += [note, ""]
    spread = ", mean ± standard deviation over seeds" if len(seeds) > 1 else ""
    for figure, words in (
        ("accuracy", "Test accuracy after the last epoch"),
        ("balanced_accuracy", "Balanced accuracy, the mean of the classes' accuracies"),
        ("few_accuracy", "Few-shot accuracy, the mean over the smallest classes"),
    ):
        if figure == "balanced_accuracy" and _equals_accuracy(table):
            continue
        lines += [f"{words}{spread}:", "", *table.markdown(figure, figure == "accuracy"), ""]
    for sentence in sentences(table):
        lines += [f"- {sentence}"]
    return "\n".join(lines).rstrip("\n") + "\n"


def _seeds(seeds):
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"


def _equals_accuracy(table):
    """Whether the test set is balanced, so that the two figures are one."""
    return all(math.isclose(m["accuracy"], m["balanced_accuracy"]) for m in table.metrics.values())


def sentences(table):
    """The order of accuracies in words, the paper's where it states one."""
    if table.name == "2":
        columns = {name: f"{power:g} ({name})" for power, name in grid.POWERS.items()}
        orders = {
            row: {name: table.summary(row, columns[name], "accuracy") for name in columns}
            for row in table.rows
        }
        yield order_in_words(_PAPER_TERM_ORDER, orders)
    elif table.name == "1":
        for column in table.columns:
            balanced = column == "balanced"
            paper = ("sigmoid", "focal", "softmax") if balanced else ("focal", "sigmoid", "softmax")
            accuracies = {row: table.summary(row, column, "accuracy") for row in table.rows}
            yield order_in_words(paper, {column: accuracies})
    else:
        yield from _best_power(table)


def order_in_words(order, groups):
    """Whether an order of means holds in each of several groups, in one sentence.

    A pair of neighbours in the order counts as decided where the means differ by more than the
    spread of their difference, the root of the sum of the squared standard deviations over seeds.

    Args:
        order: Names, the largest first.
        groups: Dict of group to dict of name to `Summary`.

    Returns:
        Such as "CB > none: holds for focal; not for softmax (none .70 > CB .69)".
    """
    verdicts = {"holds": [], "within": [], "not": [], "open": []}
    for group, summaries in groups.items():
        verdict, detail = _verdict(order, summaries)
        verdicts[verdict].append(f"{group} ({detail})" if detail else group)
    parts = [
        f"{words} {', '.join(verdicts[key])}"
        for key, words in (
            ("holds", "holds for"),
            ("within", "undecided, within the spread, for"),
            ("not", "not for"),
            ("open", "not finished for"),
        )
        if verdicts[key]
    ]
    text = f"{' > '.join(order)}: {'; '.join(parts)}."
    counts = {len(s.values) for summaries in groups.values() for s in summaries.values()}
    if counts <= {0, 1}:
        text += " One seed: how far the figures spread between seeds is not known."
    return text


def _verdict(order, summaries):
    if any(summaries[name].mean is None for name in order):
        return "open", ""
    wrong, close = [], []
    for larger, smaller in itertools.pairwise(order):
        a, b = summaries[larger], summaries[smaller]
        spread = _spread_of_difference(a, b)
        if spread is not None and abs(a.mean - b.mean) <= spread:
            close.append(f"{larger} {a} and {smaller} {b}")
        elif a.mean <= b.mean:
            sign = "=" if a.mean == b.mean else ">"
            wrong.append(f"{smaller} {b} {sign} {larger} {a}")
    if wrong:
        return "not", "; ".join(wrong)
    return ("within", "; ".join(close)) if close else ("holds", "")


def _spread_of_difference(a, b):
    if a.deviation is None or b.deviation is None:
        return None
    return math.hypot(a.deviation, b.deviation)


def _best_power(table):
    for column in table.columns:
        summaries = {row: table.summary(row, column, "accuracy") for row in table.rows}
        known = {row: s for row, s in summaries.items() if s.mean is not None}
        if len(known) < len(table.rows):
            yield f"{column}: {len(known)} of {len(table.rows)} powers are finished."
            continue
        best = max(known, key=lambda row: known[row].mean)
        equal = [
            row
            for row in known
            if row != best
            and (spread := _spread_of_difference(known[best], known[row])) is not None
            and known[best].mean - known[row].mean <= spread
        ]
        text = f"{column}: the most accurate power is {best} ({known[best]})"
        yield text + (f"; within the spread of it: {', '.join(equal)}." if equal else ".")
