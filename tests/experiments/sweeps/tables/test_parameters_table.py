"""The table of parameters: its cells, its choice by held-out images, its words."""

import pytest

from experiments import methods
from experiments.cli import UserError
from experiments.sweeps.document import text
from experiments.sweeps.tables import TABLES
from experiments.sweeps.tables.parameters import TRIED
from tests.experiments.sweeps.cases import SETTINGS, cells_of, outcome

HELD_OUT = {"validation_fraction": 0.1}
LDAM = ["deferred LDAM"]


def made(accuracy, validation, tuned, seeds=(0,)):
    """The outcome of some methods, whose test and held-out figures are functions of settings."""
    options = {"tuned": tuned}
    found = outcome("parameters", accuracy, seeds, validation, options=options, **HELD_OUT)
    for of_cell in found.metrics.values():
        of_cell |= {"ece": 0.125, "nll": 0.5}
    return found


def test_every_method_has_its_published_value_among_those_that_are_tried():
    for tried in TRIED.values():
        assert tried.published in tried.values
        assert tuple(sorted({*tried.values})) == tried.values
        assert methods.METHODS[tried.method].loss(tried.loss)


def test_a_cell_has_its_value_and_else_the_defaults_of_its_method():
    by_label = {c.row: c.settings for c in cells_of("parameters", **HELD_OUT, ramp_start=0.1)}
    assert len(by_label) == 1 + sum(len(tried.values) for tried in TRIED.values()) == 47
    cdt = by_label["CDT, vs_gamma 0.3"]
    assert (cdt["method"], cdt["vs_gamma"], cdt["tau"], cdt["drw_start"]) == ("vs", 0.3, 0.0, 0.8)
    ldam = by_label["deferred LDAM, scale 10"]
    assert (ldam["method"], ldam["scale"], ldam["drw_start"]) == ("ldam_drw", 10.0, 0.8)
    deferred = by_label["deferred class-balanced softmax, drw_start 0.6"]
    assert (deferred["cb_power"], deferred["drw_start"]) == (1.0, 0.6)
    sampled = by_label["resampled softmax, sampler power:0.25"]
    assert (sampled["cb_power"], sampled["sampler"]) == (0.0, "power:0.25")
    assert "sampler" not in deferred  # every other cell has that of the flags, which is the default
    hard = by_label["softmax by difficulty, difficulty_power 2"]
    assert (hard["method"], hard["cb_power"], hard["difficulty_power"]) == ("difficulty", 0.0, 2.0)
    volume = by_label["class-balanced softmax by class volume, volume_quantile 0.25"]
    assert (volume["cb_power"], volume["volume_quantile"]) == (1.0, 0.25)
    ramp = by_label["ramped class-balanced softmax, cb_power 1.5"]
    assert (ramp["method"], ramp["cb_power"], ramp["ramp_start"]) == ("power_ramp", 1.5, 0.1)
    assert ldam["ramp_start"] == 0.0  # a flag of one method is for its cells alone
    smoothed, mixed = by_label["MiSLAS, smooth_head 0.1"], by_label["softmax with mixup"]
    assert (smoothed["method"], smoothed["smooth_head"]) == ("mislas", 0.1)
    assert (smoothed["train_epochs"], smoothed["sampler"]) == (10, "class_balanced")  # of a preset
    assert (mixed["mixup_alpha"], mixed["cb_power"], mixed["train_epochs"]) == (1.0, 0.0, 200)
    strong = by_label["Balanced Softmax with strong recipe, weight_decay 0.001"]
    assert (strong["weight_decay"], strong["sam_rho"], strong["train_epochs"]) == (1e-3, 0.1, 200)
    assert not {"weight_decay", "sam_rho"} & {*mixed}  # as the flags give them
    focal = by_label["class-balanced focal, gamma 2"]
    assert (focal["loss"], focal["gamma"], focal["cb_power"], focal["scale"]) == (
        *("focal", 2.0, 1.0),
        methods.PARAMETERS["scale"].default,
    )
    for settings in by_label.values():
        assert not list(methods.problems({**SETTINGS, **settings}))


def test_without_held_out_images_there_is_nothing_to_choose_by():
    with pytest.raises(UserError, match=r"--validation_fraction=0\.1"):
        cells_of("parameters")


@pytest.mark.parametrize(("given", "words"), [(["LDAM"], "'LDAM', which is no row"), ([], "empty")])
def test_methods_that_it_does_not_have_are_refused(given, words):
    with pytest.raises(UserError, match=rf"--tuned .*{words}; there are class-balanced softmax"):
        cells_of("parameters", options={"tuned": given}, **HELD_OUT)


def test_each_method_has_the_value_that_is_best_on_held_out_images():
    table = made(
        lambda s: {10.0: 0.5, 30.0: 0.75}.get(
            s["scale"] if s["method"] == "ldam_drw" else 0, 0.625
        ),
        lambda s: 0.875 if s["scale"] == 10.0 or s["vs_gamma"] == 0.2 else 0.75,
        ["CDT", "deferred LDAM"],
    )
    words = text(table, "command")
    assert "| CDT, vs_gamma 0.2 | .8750 | .6250 | .6250 | .5000 | .1250 | .5000 |" in words
    assert (
        "- CDT: the best vs_gamma by balanced accuracy on held-out images is 0.2 (.8750), which "
        "has .6250 on the test set.\n"
        "- deferred LDAM: the best scale by balanced accuracy on held-out images is 10 (.8750), "
        "which has .5000 on the test set.\n"
        "- deferred LDAM: the published 30 has .7500 on held-out images and .7500 on the test set, "
        "the chosen 10 .5000 (-25.0 points).\n"
    ) in words
    assert words.count("by which the best is chosen") == 1
    chosen = {
        group: max(places, key=lambda name: table.statistic(*places[name], table.chosen_by).mean)
        for group, _, places in TABLES["parameters"].choices(table)
    }
    assert chosen == {"CDT": "0.2", "deferred LDAM": "10"}


def test_of_equals_on_held_out_images_the_published_value_is_chosen():
    words = text(made(lambda s: 0.5, lambda s: 0.75, ["CDT"]), "command")
    assert (
        "- CDT: the best vs_gamma by balanced accuracy on held-out images is 0.2 (.7500)" in words
    )
    assert "the published" not in words.partition("| CDT")[2]


def test_the_interval_of_the_best_of_one_seed_tells_which_others_might_be_it():
    table = made(lambda s: 0.5, lambda s: {0.1: 0.75, 0.2: 0.875, 0.3: 0.5}[s["vs_gamma"]], ["CDT"])
    table.metrics[1]["validation_interval"] = [0.6875, 0.9375]
    assert "; its 95% interval over the held-out images, .6875 to .9375, also holds 0.1." in text(
        table, "command"
    )
    table.metrics[1] |= {"validation_interval": [0.8125, 0.9375], "validation_fewest": 10}
    assert "over the held-out images, .8125 to .9375, holds no other." in text(table, "command")
    table.metrics[1]["validation_fewest"] = 9
    assert "; of a class 9 images are held out, too few to tell it from the others." in text(
        table, "command"
    )


def test_a_parameter_that_none_of_the_methods_has_is_refused():
    with pytest.raises(UserError, match=r"--max_margin=0\.25 has no effect on any"):
        cells_of("parameters", options={"tuned": ["CDT"]}, max_margin=0.25, **HELD_OUT)
    assert cells_of("parameters", options={"tuned": LDAM}, max_margin=0.25, **HELD_OUT)


def test_a_second_stage_stands_after_the_run_that_it_begins_with():
    cells = cells_of("parameters", options={"tuned": ["MiSLAS"]}, **HELD_OUT)
    assert [cell.row for cell in cells][:2] == ["softmax with mixup", "MiSLAS, smooth_head 0.1"]
    assert [cell.first for cell in cells] == [None, *["softmax with mixup"] * 5]


def test_what_second_stages_and_the_strong_recipe_have_of_their_own_is_told():
    tried = ["CDT", "MiSLAS", "Balanced Softmax with strong recipe"]
    words = text(made(lambda s: 0.5, lambda s: 0.5, tried), "command")
    assert "- MiSLAS, by the preset second_stage: sampler class_balanced, train_epochs 10" in words
    assert "- MiSLAS: on the trunks of softmax with mixup, whose time is not in theirs." in words
    name = "- Balanced Softmax with strong recipe"
    assert f"{name}, by the preset strong: lr_schedule cosine, randaugment 0.5, cutout 16" in words


def test_a_setting_of_the_protocol_that_one_method_tries_is_of_the_flags_in_the_others():
    tried = ["CDT", "Balanced Softmax with strong recipe"]
    cells = cells_of("parameters", options={"tuned": tried}, weight_decay=0.25, **HELD_OUT)
    assert [c.settings["weight_decay"] for c in cells] == [0.25] * 3 + [2e-4, 5e-4, 1e-3]
    assert [c.by_row for c in cells] == [()] * 3 + [("weight_decay",)] * 3


def test_of_methods_that_are_not_finished_no_value_is_named():
    table = made(lambda s: None if s["scale"] == 10.0 else 0.5, lambda s: 0.5, ["deferred LDAM"])
    words = text(table, "command")
    assert "- deferred LDAM: 1 of 2 scales are finished." in words
    assert "published" not in words.partition("| deferred")[2]
