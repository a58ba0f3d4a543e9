"""Tables of many runs: means, spreads, and the order in words, from numbers checked by hand."""

import csv
import io

import pytest

from experiments.sweeps import grid, tables
from experiments.sweeps.tables import Summary, Table
from tests.experiments.sweeps.test_grid import SETTINGS


def metrics(accuracy, few=0.5):
    return {
        "accuracy": accuracy,
        "balanced_accuracy": accuracy,
        "few_accuracy": few,
        "loss": 1.25,
        "epochs": 200,
        "train_seconds": 10.0,
        "images_per_second": 100.0,
    }


def table_2(accuracies, seeds=(0,)):
    """Table 2 with `accuracies[loss] = [(none, CB, sqrt, squared), ...]`, one tuple a seed."""
    cells = grid.cells("2", SETTINGS, seeds)
    values = {
        (loss, power, seed): row[i]
        for loss, rows in accuracies.items()
        for seed, row in zip(seeds, rows, strict=True)
        for i, power in enumerate(grid.POWERS)
    }
    found = {}
    for i, cell in enumerate(cells):
        s = cell.settings
        value = values.get((s["loss"], s["cb_power"], s["seed"]))
        if value is not None:
            found[i] = metrics(value)
    return Table("2", cells, found)


def test_mean_and_sample_deviation_over_seeds():
    summary = Summary((0.70, 0.72, 0.77))
    assert summary.mean == pytest.approx(0.73)
    assert summary.deviation == pytest.approx(0.0360555)  # sqrt((.03^2 + .01^2 + .04^2) / 2)
    assert str(summary) == ".7300 ± .0361"
    assert str(Summary((0.7,))) == ".7000"
    assert str(Summary(())) == "-"


@pytest.mark.parametrize(
    ("value", "text"), [(0.7, ".7000"), (0.0, ".0000"), (1.0, "1.0000"), (0.00504, ".0050")]
)
def test_accuracies_are_printed_as_the_papers_print_them(value, text):
    assert tables.number(value) == text


def test_the_figures_stand_in_their_cells_beside_the_papers():
    table = table_2({"softmax": [(0.70, 0.73, 0.71, 0.60)], "focal": [(0.71, 0.74, 0.72, None)]})
    lines = list(table.markdown("accuracy", published=True))
    assert lines[0] == "| loss | 0 (none) | 1 (CB) | 0.5 (sqrt) | 2 (squared) |"
    assert lines[2] == (
        "| softmax | .7000 (paper .7690) | .7300 (paper .7805) | .7100 (paper .7692) "
        "| .6000 (paper .6086) |"
    )
    assert lines[3].startswith("| sigmoid | - (paper .7724) |")
    assert lines[4].endswith("| .7200 (paper .7737) | - (paper .6595) |")


ORDER = ("CB", "sqrt", "none", "squared")


def words(**groups):
    summaries = {
        group: {name: Summary(values) for name, values in zip(ORDER, rows, strict=True)}
        for group, rows in groups.items()
    }
    return tables.order_in_words(ORDER, summaries)


def test_the_order_holds_where_every_step_is_larger_than_the_spread():
    text = words(focal=[(0.79, 0.80), (0.74, 0.75), (0.70, 0.71), (0.60, 0.61)])
    assert text == "CB > sqrt > none > squared: holds for focal."


def test_the_order_does_not_hold_where_a_step_goes_the_other_way_beyond_the_spread():
    text = words(
        softmax=[(0.79, 0.80), (0.74, 0.75), (0.70, 0.71), (0.60, 0.61)],
        sigmoid=[(0.79, 0.80), (0.70, 0.71), (0.74, 0.75), (0.60, 0.61)],
    )
    assert text == (
        "CB > sqrt > none > squared: holds for softmax; not for sigmoid "
        "(none .7450 ± .0071 > sqrt .7050 ± .0071)."
    )


@pytest.mark.parametrize("sqrt", [(0.735, 0.755), (0.725, 0.745)])
def test_a_step_within_the_spread_is_called_undecided_whichever_way_it_goes(sqrt):
    # none: .74 +- .014; the difference of +-.005 is less than sqrt(.014^2 + .014^2) = .02.
    text = words(focal=[(0.80, 0.80), sqrt, (0.73, 0.75), (0.60, 0.60)])
    assert "undecided, within the spread, for focal (sqrt" in text
    assert "holds" not in text


def test_equal_means_are_said_to_be_equal():
    text = words(focal=[(0.79,), (0.79,), (0.70,), (0.60,)])
    assert "not for focal (sqrt .7900 = CB .7900)" in text


def test_one_seed_gives_an_order_and_says_that_the_spread_is_not_known():
    text = words(focal=[(0.79,), (0.74,), (0.70,), (0.60,)])
    assert text.startswith("CB > sqrt > none > squared: holds for focal.")
    assert "One seed" in text


def test_an_unfinished_group_has_no_order():
    assert "not finished for focal" in words(focal=[(0.79,), (0.74,), (), (0.60,)])


def test_the_document_has_the_command_the_tables_and_the_order():
    table = table_2(
        {loss: [(0.70, 0.73, 0.71, 0.60), (0.71, 0.75, 0.73, 0.62)] for loss in grid.LOSSES},
        seeds=(0, 1),
    )
    text = tables.document(table, "python -m experiments.sweep --table=2", ["Not the paper's."])
    assert text.startswith("# Table 2: cifar10, seeds 0, 1\n\n    python -m experiments.sweep")
    assert "Not the paper's." in text
    assert "| softmax | .7050 ± .0071 (paper .7690) | .7400 ± .0141 (paper .7805) |" in text
    assert "Few-shot accuracy" in text
    assert "Balanced accuracy" not in text  # the same as accuracy, the test set is balanced
    assert "- CB > sqrt > none > squared:" in text


def test_an_unfinished_table_says_how_much_is_missing():
    text = tables.document(table_2({"focal": [(0.7, 0.73, 0.71, 0.6)]}), "command")
    assert "8 of 12 runs are not finished yet." in text


def test_table_1_is_compared_with_both_orders_of_the_paper():
    cells = grid.cells("1", SETTINGS, [0])
    ours = {"softmax": (0.90, 0.70), "sigmoid": (0.92, 0.72), "focal": (0.91, 0.71)}
    found = {
        i: metrics(ours[c.settings["loss"]][c.settings["imbalance_factor"] == 0.02])
        for i, c in enumerate(cells)
    }
    balanced, long_tailed = tables.sentences(Table("1", cells, found))
    assert balanced.startswith("sigmoid > focal > softmax: holds for balanced.")
    assert "focal > sigmoid > softmax: not for imbalance factor 0.02" in long_tailed


def test_the_power_curve_names_its_best_power_and_those_within_the_spread_of_it():
    cells = grid.cells("power", SETTINGS, [0, 1])
    mean = {0.75: 0.75, 1.0: 0.745}
    found = {
        i: metrics(mean.get(c.settings["cb_power"], 0.6) + (0.01 if c.settings["seed"] else -0.01))
        for i, c in enumerate(cells)
    }
    (sentence,) = tables.sentences(Table("power", cells, found))
    assert sentence == (
        "focal: the most accurate power is 0.75 (.7500 ± .0141); within the spread of it: 1."
    )


def test_results_csv_has_the_columns_of_the_design_and_one_row_a_run():
    focal = {**SETTINGS, "seed": 0, "cb_power": 0.5}
    natural = {**SETTINGS, "seed": 1, "loss": "softmax", "long_tail": "natural"}
    text = tables.results_csv([(focal, metrics(0.7)), (natural, metrics(0.6, few=None))])
    assert text.splitlines()[0] == (
        "dataset,method,loss,cb_power,cb_beta,gamma,imbalance_factor,seed,epochs,accuracy,"
        "balanced_accuracy,few_accuracy,train_seconds,images_per_second"
    )
    first, second = csv.DictReader(io.StringIO(text))
    assert (first["loss"], first["gamma"], first["imbalance_factor"]) == ("focal", "1.0", "0.02")
    assert (first["accuracy"], first["epochs"], first["seed"]) == ("0.7", "200", "0")
    # What a run does not have is left empty.
    assert (second["loss"], second["gamma"], second["imbalance_factor"]) == ("softmax", "", "")
    assert second["few_accuracy"] == ""
