"""The grids of the tables: which cells, with which settings, beside which published figure."""

import pytest

from experiments.cli import UserError
from experiments.sweeps import grid

SETTINGS = {
    "dataset": "cifar10",
    "long_tail": "exponential",
    "imbalance_factor": 0.02,
    "loss": "focal",
    "cb_power": 1.0,
    "cb_beta": 0.9999,
    "gamma": 1.0,
    "train_epochs": 200,
    "batch_size": 64,
}


def published(cells):
    return {
        (c.settings["loss"], c.settings["imbalance_factor"], c.settings["cb_power"]): c.published
        for c in cells
    }


def test_table_1_is_three_plain_losses_balanced_and_long_tailed_as_published():
    # Park & Hwang 2022, table 1.
    assert published(grid.cells("1", SETTINGS, [0])) == {
        ("softmax", 1.0, 0.0): 0.8535,
        ("softmax", 0.02, 0.0): 0.7690,
        ("sigmoid", 1.0, 0.0): 0.9286,
        ("sigmoid", 0.02, 0.0): 0.7724,
        ("focal", 1.0, 0.0): 0.8581,
        ("focal", 0.02, 0.0): 0.7727,
    }


def test_table_2_is_three_losses_under_four_powers_as_published():
    # Park & Hwang 2022, table 2.
    assert published(grid.cells("2", SETTINGS, [0])) == {
        ("softmax", 0.02, 0.0): 0.7690,
        ("softmax", 0.02, 1.0): 0.7805,
        ("softmax", 0.02, 0.5): 0.7692,
        ("softmax", 0.02, 2.0): 0.6086,
        ("sigmoid", 0.02, 0.0): 0.7724,
        ("sigmoid", 0.02, 1.0): 0.7854,
        ("sigmoid", 0.02, 0.5): 0.7782,
        ("sigmoid", 0.02, 2.0): 0.6402,
        ("focal", 0.02, 0.0): 0.7727,
        ("focal", 0.02, 1.0): 0.7901,
        ("focal", 0.02, 0.5): 0.7737,
        ("focal", 0.02, 2.0): 0.6595,
    }


def test_the_power_curve_goes_from_0_to_2_in_quarters_with_the_loss_and_beta_given():
    cells = grid.cells("power", {**SETTINGS, "loss": "sigmoid", "cb_beta": 0.999}, [0])
    powers = [cell.settings["cb_power"] for cell in cells]
    assert powers == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2]
    assert {(c.settings["loss"], c.settings["cb_beta"]) for c in cells} == {("sigmoid", 0.999)}


@pytest.mark.parametrize("table", ["1", "2", "power"])
def test_every_cell_keeps_the_other_settings_and_seeds_follow_each_other(table):
    cells = grid.cells(table, SETTINGS, [3, 5])
    half = len(cells) // 2
    assert [cell.settings["seed"] for cell in cells] == [3] * half + [5] * half
    for cell in cells:
        kept = {k: v for k, v in cell.settings.items() if k not in grid.AXES}
        assert kept == {k: v for k, v in SETTINGS.items() if k not in grid.AXES}


def test_the_balanced_cells_alone_take_their_own_number_of_epochs():
    cells = grid.cells("1", SETTINGS, [0], balanced_epochs=55)
    assert {(c.settings["imbalance_factor"], c.settings["train_epochs"]) for c in cells} == {
        (1.0, 55),
        (0.02, 200),
    }


def test_gamma_reaches_the_focal_cells_only():
    cells = grid.cells("2", {**SETTINGS, "gamma": 2.0}, [0])
    assert {(c.settings["loss"], c.settings["gamma"]) for c in cells} == {
        ("softmax", 1.0),
        ("sigmoid", 1.0),
        ("focal", 2.0),
    }


def test_the_power_curve_of_one_loss_keeps_gamma_for_the_trainer_to_refuse():
    cells = grid.cells("power", {**SETTINGS, "loss": "softmax", "gamma": 2.0}, [0])
    assert {c.settings["gamma"] for c in cells} == {2.0}


@pytest.mark.parametrize(
    ("change", "still"),
    [
        ({"dataset": "digits"}, set()),
        ({"long_tail": "natural"}, set()),
        ({"imbalance_factor": 0.01}, set()),
        # Plain losses have no beta; softmax and sigmoid have no gamma.
        ({"cb_beta": 0.999}, {("softmax", 0), ("sigmoid", 0), ("focal", 0)}),
        ({"gamma": 2.0}, {(loss, p) for loss in ("softmax", "sigmoid") for p in grid.POWERS}),
    ],
)
def test_no_published_figure_stands_beside_other_settings(change, still):
    cells = grid.cells("2", {**SETTINGS, **change}, [0])
    shown = {(c.settings["loss"], c.settings["cb_power"]) for c in cells if c.published}
    assert shown == still


@pytest.mark.parametrize("change", [{"imbalance_factor": 1.0}, {"long_tail": "natural"}])
def test_table_1_without_a_long_tail_is_refused(change):
    got = "got 1" if "imbalance_factor" in change else "tfds:NAME has unless --imbalance_factor is"
    with pytest.raises(UserError, match=f"--table=1 compares balanced data .*{got}"):
        grid.cells("1", {**SETTINGS, **change}, [0])
