"""The tables by name: adding one is a file here and a line in `TABLES`."""

from experiments.sweeps.tables import grid, methods, one, parameters, power, two
from experiments.sweeps.tables.table import Option, Table

__all__ = ["DOCUMENTS", "OPTIONS", "TABLES", "Option", "Table"]

TABLES = {
    table.name: table
    for table in (one.TABLE, two.TABLE, power.TABLE, methods.TABLE, parameters.TABLE)
}
OPTIONS = tuple(option for table in TABLES.values() for option in table.options)
# All files that a sweep may have written, in the order of a report.
DOCUMENTS = (*(table.document for table in TABLES.values()), grid.DOCUMENT)
