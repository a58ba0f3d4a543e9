"""A grid as a table: its rows and columns, its cells, and its best cell."""

import pytest

from experiments.sweeps import cells
from experiments.sweeps.document import markdown
from experiments.sweeps.tables.grid import table
from tests.experiments.sweeps.cases import SETTINGS, metrics


def made(axes, seeds=(0,)):
    grid = table(axes)
    return cells.Outcome(grid, cells.of_table(grid, SETTINGS, seeds), {})


@pytest.mark.parametrize(
    ("axes", "lines"),
    [
        (
            {"cb_power": (0.0, 0.5)},
            ["| cb_power | cifar10 |", "|---|---|", "| 0 | - |", "| 0.5 | - |"],
        ),
        (
            {"cb_power": (0.0, 0.5), "gamma": (0.0, 2.0)},
            [
                "| cb_power | gamma 0 | gamma 2 |",
                "|---|---|---|",
                "| 0 | - | - |",
                "| 0.5 | - | - |",
            ],
        ),
        (
            {"loss": ("focal", "sigmoid"), "depth": (8,), "lr_boundaries": (["0.8", "0.9"],)},
            [
                "|  | lr_boundaries 0.8,0.9 |",
                "|---|---|",
                "| loss focal, depth 8 | - |",
                "| loss sigmoid, depth 8 | - |",
            ],
        ),
    ],
)
def test_the_last_flag_gives_the_columns_and_the_others_the_rows(axes, lines):
    assert list(markdown(made(axes), "accuracy")) == lines


def test_every_combination_is_a_cell_of_every_seed():
    outcome = made({"cb_power": (0.0, 0.5), "gamma": (1.0, 2.0)}, (3, 4))
    found = [tuple(c.settings[n] for n in ("seed", "cb_power", "gamma")) for c in outcome.cells]
    assert found == [(s, p, g) for s in (3, 4) for p in (0.0, 0.5) for g in (1.0, 2.0)]
    assert all({**c.settings, **SETTINGS}.keys() == {*SETTINGS, "seed"} for c in outcome.cells)


def test_values_that_are_nearly_equal_are_cells_of_their_own():
    outcome = made({"learning_rate": (0.12345678, 0.12345679)})
    assert outcome.rows == ["0.12345678", "0.12345679"]


def test_the_best_cell_is_named_with_its_spread():
    outcome = made({"cb_power": (0.0, 0.5), "gamma": (1.0, 2.0)}, (0, 1))
    best = {"cb_power": 0.5, "gamma": 2.0}
    for i, cell in enumerate(outcome.cells):
        mean = 0.7 if all(cell.settings[n] == v for n, v in best.items()) else 0.5
        outcome.metrics[i] = metrics(mean + (0.01 if cell.settings["seed"] else -0.01))
    best, caution = outcome.table.claims(outcome)
    assert best == "cifar10: the most accurate cell is cb_power 0.5, gamma 2 (.7000 ± .0141)."
    assert "best on the test set itself" in caution
    outcome.metrics = {0: metrics(0.5)}
    assert list(outcome.table.claims(outcome)) == ["cifar10: 1 of 4 cells are finished."]
