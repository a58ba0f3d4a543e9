"""The tables of the papers: which cells, with which settings, next to which published figure."""

import pytest

from experiments.cli import UserError
from experiments.methods.powers import POWERS
from experiments.sweeps.tables import DOCUMENTS, OPTIONS, TABLES, park2022, power
from experiments.training import flags as train_flags
from tests.experiments.sweeps.cases import SETTINGS, cells_of, metrics, outcome

VARIED = {"loss", "cb_power", "gamma", "imbalance_factor", "seed", "train_epochs"}
VARIED |= {"method"}


def published(table, **changes):
    return {
        (s["loss"], s["imbalance_factor"], s["cb_power"]): TABLES[table].published(s)
        for s in (cell.settings for cell in cells_of(table, **changes))
    }


def test_every_table_has_a_name_and_a_document_of_its_own():
    assert list(TABLES) == [table.name for table in TABLES.values()]
    names = ["table1", "table2", "power", "methods", "parameters", "grid"]
    assert [*DOCUMENTS] == [f"{name}.md" for name in names]
    assert all(table.help for table in TABLES.values())
    assert {name for table in TABLES.values() for name in table.varies} <= {
        *train_flags.protocol_defaults()
    }
    assert [option.name for option in OPTIONS] == ["balanced_epochs", "rows", "tuned"]


def test_table_1_is_three_plain_losses_balanced_and_long_tailed_as_published():
    # Park & Hwang 2022, table 1.
    assert published("1") == {
        ("softmax", 1.0, 0.0): 0.8535,
        ("softmax", 0.02, 0.0): 0.7690,
        ("sigmoid", 1.0, 0.0): 0.9286,
        ("sigmoid", 0.02, 0.0): 0.7724,
        ("focal", 1.0, 0.0): 0.8581,
        ("focal", 0.02, 0.0): 0.7727,
    }


def test_table_2_is_three_losses_under_four_powers_as_published():
    # Park & Hwang 2022, table 2.
    assert published("2") == {
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
    cells = cells_of("power", loss="sigmoid", cb_beta=0.999)
    powers = [cell.settings["cb_power"] for cell in cells]
    assert powers == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2] == list(power.POWERS)
    assert {(c.settings["loss"], c.settings["cb_beta"]) for c in cells} == {("sigmoid", 0.999)}


@pytest.mark.parametrize("table", TABLES)
def test_every_cell_keeps_the_other_settings_and_seeds_follow_each_other(table):
    cells = cells_of(table, [3, 5], validation_fraction=0.1)
    half = len(cells) // 2
    assert [cell.settings["seed"] for cell in cells] == [3] * half + [5] * half
    for cell in cells:
        kept = {k: cell.settings[k] for k in SETTINGS if k not in VARIED}
        assert kept == {k: v for k, v in SETTINGS.items() if k not in VARIED}


def test_the_balanced_cells_alone_take_their_own_number_of_epochs():
    cells = cells_of("1", options={"balanced_epochs": 55})
    assert {(c.settings["imbalance_factor"], c.settings["train_epochs"]) for c in cells} == {
        (1.0, 55),
        (0.02, 200),
    }


def test_gamma_reaches_the_focal_cells_only():
    cells = cells_of("2", gamma=2.0)
    assert {(c.settings["loss"], c.settings["gamma"]) for c in cells} == {
        ("softmax", 1.0),
        ("sigmoid", 1.0),
        ("focal", 2.0),
    }


def test_the_power_curve_of_one_loss_keeps_gamma_for_the_trainer_to_refuse():
    assert {c.settings["gamma"] for c in cells_of("power", loss="softmax", gamma=2.0)} == {2.0}


@pytest.mark.parametrize(
    ("change", "still"),
    [
        ({"dataset": "digits"}, set()),
        ({"long_tail": "natural"}, set()),
        ({"imbalance_factor": 0.01}, set()),
        # Plain losses have no beta; softmax and sigmoid have no gamma.
        ({"cb_beta": 0.999}, {("softmax", 0), ("sigmoid", 0), ("focal", 0)}),
        ({"gamma": 2.0}, {(loss, p) for loss in ("softmax", "sigmoid") for p in POWERS}),
    ],
)
def test_no_published_figure_stands_next_to_other_settings(change, still):
    shown = {(loss, p) for (loss, _, p), value in published("2", **change).items() if value}
    assert shown == still


@pytest.mark.parametrize("change", [{"imbalance_factor": 1.0}, {"long_tail": "natural"}])
def test_table_1_without_a_long_tail_is_refused(change):
    got = "got 1" if "imbalance_factor" in change else "tfds:NAME has unless --imbalance_factor is"
    with pytest.raises(UserError, match=f"--table=1 compares balanced data .*{got}"):
        cells_of("1", **change)


@pytest.mark.parametrize("table", ["1", "2"])
def test_a_method_that_is_unknown_is_refused(table):
    with pytest.raises(ValueError, match="--method=other is unknown"):
        cells_of(table, method="other")


def test_table_1_is_compared_with_both_orders_of_the_paper():
    ours = {"softmax": (0.90, 0.70), "sigmoid": (0.92, 0.72), "focal": (0.91, 0.71)}
    table = outcome("1", lambda s: ours[s["loss"]][s["imbalance_factor"] == 0.02])
    balanced, long_tailed = table.table.claims(table)
    assert balanced.startswith("sigmoid > focal > softmax: holds for balanced.")
    assert "focal > sigmoid > softmax: not for imbalance factor 0.02" in long_tailed


def test_table_2_is_compared_with_the_order_of_the_paper_for_each_loss():
    ours = {1.0: 0.8, 0.5: 0.7, 0.0: 0.6, 2.0: 0.5}
    table = outcome("2", lambda s: ours[s["cb_power"]])
    (sentence,) = table.table.claims(table)
    assert sentence.startswith("CB > sqrt > none > squared: holds for softmax, sigmoid, focal.")


def test_the_power_curve_names_its_best_power_and_those_within_the_spread_of_it():
    mean = {0.75: 0.75, 1.0: 0.745}
    table = outcome(
        "power", lambda s: mean.get(s["cb_power"], 0.6) + (0.01 if s["seed"] else -0.01), (0, 1)
    )
    (sentence,) = table.table.claims(table)
    assert sentence == (
        "focal: the most accurate power is 0.75 (.7500 ± .0141); within the spread of it: 1."
    )
    table.metrics = {i: metrics(0.5) for i in range(3)}
    assert list(table.table.claims(table)) == ["focal: 3 of 9 powers are finished."]


def test_the_losses_of_the_paper_are_in_its_order():
    assert list(dict.fromkeys(c.row for c in cells_of("2"))) == list(park2022.LOSSES)
    assert park2022.LOSSES == ("softmax", "sigmoid", "focal")
