"""Table 1 of Park & Hwang 2022: three plain losses on balanced and on long-tailed data."""

from experiments.cli import UserError
from experiments.runs import tails
from experiments.sweeps.cells import with_loss
from experiments.sweeps.claims import order_in_words
from experiments.sweeps.tables.park2022 import LOSSES, published
from experiments.sweeps.tables.table import Option, Table

_BALANCED = "balanced"  # the label of that column


def _cells(settings, options):
    factor = settings["imbalance_factor"]
    if tails.is_natural(settings) or tails.is_balanced(settings):
        natural = "the natural tail, which tfds:NAME has unless --imbalance_factor is given"
        got = natural if tails.is_natural(settings) else f"{factor:g}"
        raise UserError(
            "--table=1 compares balanced data with a long tail: it needs --long_tail=exponential "
            f"and an --imbalance_factor below 1, such as 0.02; got {got}."
        )
    balanced = {"imbalance_factor": 1.0}
    if options.get("balanced_epochs") is not None:
        balanced["train_epochs"] = options["balanced_epochs"]
    for loss in LOSSES:
        plain = {**with_loss(settings, loss), "cb_power": 0.0}
        yield loss, _BALANCED, {**plain, **balanced}
        yield loss, tails.in_words(settings), plain


def _claims(outcome):
    for column in outcome.columns:
        balanced = column == _BALANCED
        paper = ("sigmoid", "focal", "softmax") if balanced else ("focal", "sigmoid", "softmax")
        accuracies = {row: outcome.statistic(row, column) for row in outcome.rows}
        yield order_in_words(paper, {column: accuracies})


TABLE = Table(
    name="1",
    title="Table 1",
    document="table1.md",
    help="three losses, balanced and long-tailed, without the class-balanced term",
    varies=("loss", "cb_power"),
    heading="loss",
    cells=_cells,
    claims=_claims,
    published=published,
    options=(
        Option(
            "balanced_epochs",
            "Epochs of table 1's balanced cells, which have more images; default: --train_epochs.",
        ),
    ),
)
