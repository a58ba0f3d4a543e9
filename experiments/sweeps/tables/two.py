"""Table 2 of Park & Hwang 2022: three losses under four powers of the class-balanced term."""

from experiments.methods.powers import POWERS
from experiments.sweeps.cells import with_loss
from experiments.sweeps.claims import order_in_words
from experiments.sweeps.tables.park2022 import LOSSES, published
from experiments.sweeps.tables.table import Table

# What the paper finds, the most accurate power first.
_ORDER = (1.0, 0.5, 0.0, 2.0)


def _column(power):
    return f"{power:g} ({POWERS[power].name})"


def _cells(settings, options):
    del options
    for loss in LOSSES:
        for power in POWERS:
            yield loss, _column(power), {**with_loss(settings, loss), "cb_power": power}


def _claims(outcome):
    accuracies = {
        row: {POWERS[power].name: outcome.statistic(row, _column(power)) for power in _ORDER}
        for row in outcome.rows
    }
    yield order_in_words([POWERS[power].name for power in _ORDER], accuracies)


TABLE = Table(
    name="2",
    title="Table 2",
    document="table2.md",
    help="three losses, four powers of the term",
    varies=("loss", "cb_power"),
    heading="loss",
    cells=_cells,
    claims=_claims,
    published=published,
)
