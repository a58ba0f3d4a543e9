"""The accuracy of one loss as the power of the class-balanced term grows from 0 to 2."""

from experiments.sweeps.claims import chosen_in_words
from experiments.sweeps.tables.park2022 import published
from experiments.sweeps.tables.table import Table

POWERS = tuple(i / 4 for i in range(9))


def _cells(settings, options):
    del options
    for power in POWERS:
        yield f"{power:g}", settings["loss"], {"cb_power": power}


def _choices(outcome):
    for column in outcome.columns:
        yield column, "power", {row: (row, column) for row in outcome.rows}


def _claims(outcome):
    for choice in _choices(outcome):
        yield chosen_in_words(outcome, *choice)


TABLE = Table(
    name="power",
    title="The power of the class-balanced term",
    document="power.md",
    help="--loss under powers from 0 to 2",
    varies=("cb_power",),
    heading="power",
    cells=_cells,
    claims=_claims,
    choices=_choices,
    published=published,
)
