"""Rows that are added to the table of the methods: what they may choose, and what is refused."""

import json
import shutil

import pytest

from experiments.cli import UserError
from experiments.sweeps.tables import methods as table
from experiments.sweeps.tables.rows import After, Row
from tests.experiments.sweeps.cases import prepare, rows, run

METHODS = ("--table=methods", "--output_dir=out", "--dataset=digits", "--train_epochs=20")
PLAIN = {"cb_power": 0.0}
SLOW = Row(own={**PLAIN, "learning_rate": 0.05})
LIGHT = Row(own={**PLAIN, "weight_decay": 1e-4, "train_epochs": 30})


@pytest.fixture
def added(monkeypatch):
    """Function that adds rows to the table."""

    def add(**given):
        for label, row in given.items():
            monkeypatch.setitem(table.ROWS, label, row)

    return add


def text_of(work, folder="out"):
    return (work / folder / "methods.md").read_text()


def test_rows_that_differ_in_the_protocol_alone_are_runs_of_their_own_and_told(work, added):
    added(slow=SLOW, slow_too=Row("ldam", own={"learning_rate": 0.05}), light=LIGHT)
    arguments = (*METHODS, "--rows=softmax,slow,slow_too,light", "--learning_rate=0.2")
    made = run(*arguments)
    plain, slow, _, light = (job.name for job in made.jobs)
    assert plain == "digits_factor0.02_softmax_power0_beta0.9999_epochs20_seed0"
    assert slow == f"{plain}_learning_rate=0.05"
    assert light == f"{plain.replace('epochs20', 'epochs30')}_weight_decay=0.0001"
    assert "--learning_rate=0.05" in made.jobs[1].arguments
    found = {(r["method"], r["learning_rate"], r["weight_decay"]) for r in rows(work / "out")}
    assert found == {
        *(("class_balanced", "0.2", "0.0002"), ("class_balanced", "0.05", "0.0002")),
        *(("class_balanced", "0.2", "0.0001"), ("ldam", "0.05", "0.0002")),
    }
    text = text_of(work)
    assert "- slow, slow_too, unlike the other rows: learning_rate 0.05.\n" in text
    assert "- light, unlike the other rows: weight_decay 0.0001, train_epochs 30.\n" in text
    protocol = "20 epochs instead of 200, dataset digits instead of cifar10"
    assert f"protocol: {protocol}, learning_rate 0.2 instead of 0.1.\n" in text
    (work / "calls.txt").unlink()
    run(*arguments)  # each run has the name of its settings, and is no copy
    assert not (work / "calls.txt").exists()
    shutil.move(work / "out" / "runs", work / "records")
    run(*arguments, "--records=records")
    assert "- slow, slow_too, unlike the other rows: learning_rate 0.05.\n" in text_of(work)
    assert {r["learning_rate"] for r in rows(work / "out")} == {"0.2", "0.05"}


@pytest.mark.parametrize("first", ["slow", "softmax"])
def test_such_rows_may_be_run_before_or_after_the_others(work, added, first):
    added(slow=SLOW)
    run(*METHODS, f"--rows={first}")
    run(*METHODS, "--rows=softmax,slow" if first == "slow" else "--rows=slow")
    assert len(rows(work / "out")) == 2
    with pytest.raises(UserError, match=r"--learning_rate is 0\.1 there, 0\.3 here"):
        run(*METHODS, "--rows=VS", "--learning_rate=0.3")


def test_alone_in_a_table_it_is_not_told_as_what_all_rows_have(work, added):
    added(slow=SLOW, light=LIGHT)
    run(*METHODS, "--rows=slow,light", "--batch_size=64")
    text = text_of(work)
    protocol = "20 epochs instead of 200, dataset digits instead of cifar10"
    assert f"protocol: {protocol}, batch_size 64 instead of 128.\n" in text
    assert "- slow, unlike the other rows: learning_rate 0.05.\n" in text


def test_what_a_preset_gives_is_told_without_what_a_row_chooses(work, added):
    added(own=Row(own={**PLAIN, "weight_decay": 1e-4, "ema": 0.9}, preset="strong"))
    run(*METHODS, "--rows=softmax,softmax with strong recipe,own")
    text = text_of(work)
    shared = "lr_schedule cosine, weight_decay 0.0005, randaugment 0.5, cutout 16, ema 0.999,"
    assert f"- softmax with strong recipe, by the preset strong: {shared}" in text
    kept = shared.replace(" weight_decay 0.0005,", "").replace(" ema 0.999,", " sam_rho 0.1.\n")
    assert f"- own, by the preset strong: {kept}" in text
    assert "- own, unlike the other rows: weight_decay 0.0001.\n" in text


def test_a_second_stage_and_figures_after_a_training_can_be_of_such_a_row(work, added):
    added(
        slow=SLOW,
        second=Row("crt", preset="second_stage", first="slow", own={"learning_rate": 0.02}),
        after=After("slow", {"posthoc": ["tau_norm"], "posthoc_tau": 1.0}),
    )
    arguments = (*METHODS, "--rows=softmax,slow,second,after")
    slow, second, after = run(*arguments).jobs[1:]
    assert second.first is after.first is slow
    assert second.name.endswith(
        "_on_softmax_power0_beta0.9999_epochs20_seed0_learning_rate=0.05_epochs10_seed0"
        "_learning_rate=0.02"
    )
    (work / "calls.txt").unlink()
    run(*arguments)
    assert not (work / "calls.txt").exists()
    assert {(r["posthoc"], r["learning_rate"]) for r in rows(work / "out") if r["posthoc"]} == {
        ("tau_norm tau 1", "0.05")
    }


@pytest.mark.parametrize(
    ("posthoc", "told"),
    [
        ({"posthoc": ["temperature"], "posthoc_temperature": 1.5}, "temperature temperature 1.5"),
        ({"posthoc": ["prior_shift"], "posthoc_prior": ["1", "3"]}, "prior_shift"),
        ({"posthoc": ["prior_shift"], "posthoc_prior": [1.0, 3.0]}, "prior_shift"),
        (
            {"posthoc": ["tau_norm", "temperature"], "posthoc_tau": 0.5},
            "tau_norm,temperature tau 0.5 temperature 2",
        ),
    ],
    ids=str,
)
def test_a_row_can_be_of_anything_that_is_done_after_a_training(work, added, posthoc, told):
    added(after=After("softmax", posthoc))
    arguments = (*METHODS, "--rows=softmax,after", "--validation_fraction=0.1")
    run(*arguments)
    (work / "calls.txt").unlink()
    run(*arguments)  # its figures are of what the row asks for
    assert not (work / "calls.txt").exists()
    assert "| after | .8000 |" in text_of(work)
    assert [r["posthoc"] for r in rows(work / "out") if r["posthoc"]] == [told]


def test_figures_of_other_test_images_than_the_networks_name_what_has_changed(work, added):
    added(after=After("softmax", {"posthoc": ["logit_adjustment"], "posthoc_tau": 1.0}))
    arguments = (*METHODS, "--rows=softmax,after")
    run(*arguments)
    (path,) = (work / "out" / "runs").glob("*/posthoc_*.json")
    config = path.parent / "config.json"
    data = {"test": {"images": 10, "digest": "0"}}
    config.write_text(json.dumps(json.loads(config.read_text()) | {"data": data}))
    of_others = {"test_data": {"images": 10, "digest": "1"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | of_others))
    with pytest.raises(UserError, match=r"the test images have changed since .* train all again"):
        run(*arguments)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (Row(own={"kapa": 2.0}), "kapa is not a flag of experiments.train; python -m exp"),
        (Row("vs", own={"vs_gama": 2.0}), "vs_gama is not a flag of experiments.train; did"),
        (Row(own={"learning_rate": "0.1"}), "own has learning_rate='0.1', which is no value of"),
        (Row(own={"depth": 8.5}), "own has depth=8.5, which is no value of --depth."),
        (Row(own={"depth": None}), "own has depth=None, which is no value of --depth."),
        (Row(own={"precision": "float8"}), "own has precision='float8', which is no value of"),
        (Row(own={"method": "vs"}), "own has method; give it as Row(method=...)."),
        (Row(own={"first_stage": "runs/a"}), "own has first_stage; give it as Row(first=...)."),
        (Row(own={"seed": 3}), "own has seed, which is the same for all rows; leave it out."),
        (Row(own={"plots": False}), "own has plots, which is the same for all rows"),
        (Row("mixup"), "method is 'mixup'; there are class_balanced, "),
        (Row(loss="hinge"), "--loss=hinge does not go with --method=class_balanced, which acc"),
        (Row(preset="weak"), "preset is 'weak'; there are second_stage, strong."),
        (Row("crt", first="sofmax"), "first is 'sofmax', which is no row before it."),
        (Row("crt", first="post-hoc logit adjustment"), "which is no training."),
        (After("sofmax", {"posthoc": ["temperature"]}), "first is 'sofmax', which is no row"),
        (After("post-hoc logit adjustment", {"posthoc": ["temperature"]}), "no training."),
        (
            After("softmax", {"posthoc": ["tau_norm"], "posthoc_tua": 1.0}),
            "posthoc_tua is not a flag of experiments.evaluate; did you mean posthoc_tau?",
        ),
        (After("softmax", {"posthoc_tau": 1.0}), "nothing is done; give posthoc, such as"),
        (After("softmax", {"posthoc": "tau_norm"}), "posthoc is 'tau_norm'; give a list."),
        (After("softmax", {"posthoc": ["tau_nrom"]}), "--posthoc=tau_nrom is unknown; there are"),
        (
            After("softmax", {"posthoc": ["tau_norm"], "posthoc_tau": "1"}),
            "posthoc_tau is '1'; give a number.",
        ),
        (
            After("softmax", {"posthoc": ["tau_norm"], "posthoc_tau": -1.0}),
            "--posthoc=tau_norm: `tau` must be",
        ),
        (
            After("softmax", {"posthoc": ["tau_norm"], "posthoc_temperature": 2.0}),
            "--posthoc_temperature has no effect without --posthoc=temperature.",
        ),
        (
            After("softmax", {"posthoc": ["tau_norm"], "posthoc_saved_model": "here"}),
            "posthoc_saved_model writes a file; leave it out.",
        ),
        (
            After("VS", {"posthoc": ["logit_adjustment"], "posthoc_tau": 1.0}),
            "--posthoc=logit_adjustment is for a model that has learnt the class frequencies",
        ),
        (
            After("class-balanced focal", {"posthoc": ["temperature"]}),
            "--posthoc=temperature is for a softmax or cosine head",
        ),
        (
            After("softmax", {"posthoc": ["logit_adjustment", "temperature"]}),
            "it chooses tau and temperature on images that are held out of the training set: give",
        ),
    ],
    ids=str,
)
def test_a_row_that_can_not_be_made_is_refused_by_its_name_before_anything_is_trained(
    work, added, row, words
):
    added(mine=row)
    with pytest.raises(UserError) as caught:
        prepare(*METHODS)
    assert "ROWS of experiments/sweeps/tables/methods.py, 'mine': " in str(caught.value)
    assert words in str(caught.value)
    assert [path.name for path in work.iterdir()] == ["broken.txt"]
