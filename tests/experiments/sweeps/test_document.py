"""The document of a table: figures next to the paper's, and what is not the paper's protocol."""

from experiments.sweeps import document
from experiments.sweeps.results import Run
from experiments.sweeps.tables.park2022 import LOSSES
from tests.experiments.sweeps.cases import metrics, outcome, table_2


def test_the_figures_stand_in_their_cells_next_to_the_papers():
    table = table_2({"softmax": [(0.70, 0.73, 0.71, 0.60)], "focal": [(0.71, 0.74, 0.72, None)]})
    lines = list(document.markdown(table, "accuracy"))
    assert lines[0] == "| loss | 0 (none) | 1 (CB) | 0.5 (sqrt) | 2 (squared) |"
    assert lines[2] == (
        "| softmax | .7000 (paper .7690) | .7300 (paper .7805) | .7100 (paper .7692) "
        "| .6000 (paper .6086) |"
    )
    assert lines[3].startswith("| sigmoid | - (paper .7724) |")
    assert lines[4].endswith("| .7200 (paper .7737) | - (paper .6595) |")
    assert "paper" not in "".join(document.markdown(table, "few_accuracy"))


def test_the_document_has_the_command_the_tables_and_the_order():
    table = table_2(
        {loss: [(0.70, 0.73, 0.71, 0.60), (0.71, 0.75, 0.73, 0.62)] for loss in LOSSES},
        seeds=(0, 1),
    )
    text = document.text(table, "python -m experiments.sweep --table=2", ["Not the paper's."])
    assert text.startswith("# Table 2: cifar10, seeds 0, 1\n\n    python -m experiments.sweep")
    assert "Not the paper's." in text
    assert "| softmax | .7050 ± .0071 (paper .7690) | .7400 ± .0141 (paper .7805) |" in text
    assert "Few-shot accuracy" in text
    assert "Balanced accuracy" not in text  # the same as accuracy, the test set is balanced
    assert "- CB > sqrt > none > squared:" in text


def test_the_balanced_accuracy_of_a_test_set_that_is_not_balanced_has_a_table():
    table = table_2({"focal": [(0.7, 0.73, 0.71, 0.6)]})
    table.metrics[8]["balanced_accuracy"] = 0.5
    assert "| focal | .5000 | .7300 | .7100 | .6000 |" in document.text(table, "command")


def test_an_unfinished_table_says_how_much_is_missing():
    text = document.text(table_2({"focal": [(0.7, 0.73, 0.71, 0.6)]}), "command")
    assert "8 of 12 runs are not finished yet." in text


def test_the_document_of_the_power_curve_has_its_own_title_and_heading():
    text = document.text(outcome("power", lambda s: s["cb_power"] / 4), "command")
    assert text.startswith("# The power of the class-balanced term: cifar10, seed 0\n")
    assert "| power | focal |" in text
    assert "| 1 | .2500 (paper .7901) |" in text


def test_the_best_is_chosen_on_held_out_images_where_all_runs_have_some():
    table = outcome(
        "power",
        lambda s: s["cb_power"] / 4,  # on the test set 2 is the best
        validation=lambda s: 0.9 - abs(s["cb_power"] - 0.5) / 10,  # there it is 0.5
    )
    text = document.text(table, "command")
    assert (
        "- focal: the best power by balanced accuracy on held-out images is 0.5 (.9000), which has "
        ".1250 on the test set."
    ) in text
    assert "on the images held out of the training set, by which the best is chosen; all other" in (
        text
    )
    assert "| 0.25 | .8750 |" in text
    table.metrics[0]["validation_balanced_accuracy"] = None  # of a run without any
    text = document.text(table, "command")
    assert "- focal: the most accurate power is 2 (.5000)." in text
    assert "held" not in text


def test_runs_with_shot_figures_by_another_rule_are_counted_and_the_rule_is_named():
    table = table_2({"focal": [(0.7, 0.73, 0.71, 0.6)]})
    rules = [None, "thirds", "moved_thirds", "thirds"]
    runs = [Run({}, metrics(0.5), (), rule, "moved_thirds") for rule in rules]
    (line,) = [n for n in document.notes(with_all_flags(table), runs) if "rule" in n]
    assert line.endswith("that of today; 2 runs recorded them by another (thirds).")


def with_all_flags(table):
    """The outcome with the published value of every flag that its cells lack."""
    protocol = document.train_flags.protocol_defaults()
    for cell in table.cells:
        cell.settings.update({**protocol, **cell.settings})
    return table


def test_nothing_is_said_of_runs_that_follow_the_published_protocol():
    table = with_all_flags(table_2({}))
    for cell in table.cells:
        cell.settings["batch_size"] = 128
    assert list(document.notes(table, [])) == []
    for cell in table.cells:
        cell.settings["batch_size"] = 64
    assert list(document.notes(table, [])) == [
        "Not the published protocol: batch_size 64 instead of 128."
    ]
