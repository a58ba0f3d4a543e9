"""The table of the methods: what is trained, and a row with all figures for each."""

import json
import shutil

import pytest

from experiments import cli, methods
from experiments.backbones import resnet
from experiments.cli import UserError
from experiments.sweeps import presets
from experiments.sweeps.tables import methods as table
from tests.experiments.sweeps.cases import calls, change, prepare, rows, run

METHODS = ("--table=methods", "--output_dir=out", "--dataset=digits", "--train_epochs=20")
FIRSTS = "--rows=softmax,cRT,softmax with mixup,MiSLAS,post-hoc logit adjustment"
STRONG = presets.settings("strong")
AFTER = "posthoc_logit_adjustment_tau1"


def line_of(work, row, folder="out"):
    lines = (work / folder / "methods.md").read_text().splitlines()
    (found,) = [line for line in lines if line.startswith(f"| {row} |")]
    return found


def test_every_method_is_a_cell_of_its_own_and_a_row_with_its_figures(work):
    made = run(*METHODS)
    assert len({job.name for job in made.jobs}) == len(table.ROWS) == len(made.jobs)
    assert {cell.settings["method"] for cell in made.cells} == {*methods.METHODS} - {
        "logit_adjusted"  # which Balanced Softmax is, with tau 1
    }
    text = (work / "out" / "methods.md").read_text()
    assert "| method | accuracy | balanced | many | medium | few | ECE | NLL | s an epoch |" in text
    # What the stand-in leaves: .70 at power 1, .60 at power 0; 1 second for 20 epochs.
    found = line_of(work, "class-balanced softmax")
    assert found.startswith("| class-balanced softmax | .7000 | .7000 |")
    assert found.endswith("| 0.1 |")  # and nothing that is reported on CIFAR-10
    assert "reported elsewhere" not in text
    assert "digits: the most accurate method is" in text
    assert {row["method"] for row in rows(work / "out")} == {
        cell.settings["method"] for cell in made.cells
    }


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        (["--dataset=cifar10"], True),
        (["--dataset=cifar10", "--imbalance_factor=0.01"], False),
        (["--dataset=cifar100"], False),
    ],
    ids=str,
)
def test_what_is_reported_stands_next_to_the_same_data_alone(work, flags, shown):
    del work
    prepared = prepare("--table=methods", "--output_dir=out", "--rows=softmax", *flags)
    assert all(table.TABLE.is_reported_on(c.settings) for c in prepared.cells) == shown


def test_csv_rows_of_one_method_differ_in_the_parameters_that_tell_them_apart(work):
    run(*METHODS, "--rows=CDT,VS")
    assert {(row["vs_gamma"], row["tau"]) for row in rows(work / "out")} == {
        ("0.2", "0"),
        ("0.15", "1"),
    }


def test_seeds_have_means_and_deviations_and_some_rows_may_have_more_of_them(work):
    two = "--rows=softmax,VS"
    run(*METHODS, two)
    run(*METHODS, "--rows=softmax", "--seeds=0,1")
    shutil.move(work / "out" / "runs", work / "records")
    run(*METHODS, two, "--seeds=0,1", "--records=records")
    text = (work / "out" / "methods.md").read_text()
    assert "mean ± standard deviation over seeds" in text
    assert "| softmax | .6050 ± .0071 |" in text
    assert "- Finished are 2 seeds of softmax; 1 seed of the others.\n" in text
    assert "- digits, seed 0: the most accurate method is VS (" in text


def test_a_row_can_begin_with_the_runs_of_another_and_a_row_is_what_is_done_after_one(work):
    made = run(*METHODS, FIRSTS)
    plain, after, crt, mixed, mislas = made.jobs
    assert crt.name.startswith(
        "digits_factor0.02_crt_softmax_class_balanced_sampler_cosine_on_softmax_power0_beta0.9999_"
        "epochs20_epochs10_"
    )
    assert (crt.first, mislas.first, after.first) == (plain, mixed, plain)
    assert f"--first_stage=out/runs/{plain.name}" in crt.arguments
    assert after.command[2:] == [
        "experiments.evaluate",
        f"--saved_model=out/runs/{plain.name}/model.keras",
        f"--output=out/runs/{plain.name}/{AFTER}.json",
        *("--posthoc=logit_adjustment", "--posthoc_tau=1"),
    ]
    assert line_of(work, "post-hoc logit adjustment").startswith(
        "| post-hoc logit adjustment | .8000 |"
    )
    text = (work / "out" / "methods.md").read_text()
    assert "\n\nNot the published protocol: 20 epochs instead of 200, " in text
    assert "the most accurate method is post-hoc logit adjustment (.8000)." in text
    assert "- cRT: on the trunks of softmax, whose time is not in theirs." in text
    assert (
        "- cRT, MiSLAS, by the preset second_stage: sampler class_balanced, train_epochs 10" in text
    )
    found = rows(work / "out")
    assert [row["posthoc"] for row in found if row["posthoc"]] == ["logit_adjustment tau 1"]
    assert [r["first_stage"] for r in found if r["method"] == "mislas"] == [mixed.name]
    (work / "calls.txt").unlink()
    run(*METHODS, FIRSTS)  # nothing is left to do
    assert not (work / "calls.txt").exists()
    shutil.move(work / "out" / "runs", work / "records")
    (work / "records" / plain.name / f"{AFTER}.json").unlink()
    # As a training records it; the network is not among the records.
    recorded = json.loads((work / "records" / crt.name / "config.json").read_text())["flags"]
    recorded["first_stage"] += ": model.keras (sha256 0123456789abcdef)"
    change(work / "records" / crt.name / "config.json", flags=recorded)
    run("--table=methods", "--output_dir=again", *METHODS[2:], FIRSTS, "--records=records")
    assert line_of(work, "post-hoc logit adjustment", "again").startswith(
        "| post-hoc logit adjustment | - |"
    )
    assert line_of(work, "cRT", "again") == line_of(work, "cRT")


def test_second_stages_and_the_strong_recipe_lie_next_to_the_runs_of_other_tables(work):
    run(*METHODS, "--rows=softmax,cRT,softmax with strong recipe")
    (note,) = [
        line
        for line in (work / "out" / "methods.md").read_text().splitlines()
        if line.startswith("Not the published protocol")
    ]
    assert not {"weight_decay", "lr_schedule", "sampler"} & {*note.replace(",", "").split()}
    before = set(calls(work))
    assert "protocol: 20 epochs instead" in (work / "out" / "methods.md").read_text()
    run("--table=power", *METHODS[1:])
    assert len(rows(work / "out")) == 3 + 8
    assert len(before) == 3


def test_rows_of_the_strong_recipe_alone_are_added_to_plain_ones(work):
    run(*METHODS, "--rows=softmax")
    run(*METHODS, "--rows=softmax with strong recipe,Balanced Softmax with strong recipe")
    text = (work / "out" / "methods.md").read_text()
    assert "by the preset strong: lr_schedule cosine, weight_decay 0.0005, randaugment" in text
    assert len(rows(work / "out")) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rows=Softmax"], "--rows has 'Softmax', which is no row; there are softmax, square"),
        (["--rows=cRT"], "--rows=cRT: 'cRT' begins with the runs of 'softmax'; add it."),
        (["--rows="], "--rows is empty; there are softmax"),
        (["--difficulty_power=2"], "--difficulty_power can't be given with --table=methods"),
        (["--sampler=square_root"], "--sampler can't be given with --table=methods, which varies"),
    ],
)
def test_rows_that_can_not_be_made_are_refused(work, arguments, words):
    with pytest.raises(UserError) as caught:
        prepare(*METHODS, *arguments)
    assert words in str(caught.value)


def test_figures_that_are_not_what_evaluate_writes_are_refused(work):
    job = run(*METHODS, FIRSTS).jobs[1]
    change(job.folder / job.figures, posthoc={"steps": ["logit_adjustment"], "tau": 2.0})
    with pytest.raises(UserError, match=r"something else \(--posthoc_tau is 2\.0 there, 1\.0 here"):
        run(*METHODS, FIRSTS)
    change(job.folder / job.figures, posthoc=None)
    with pytest.raises(UserError, match=r"tau1\.json is not what experiments\.evaluate writes"):
        run(*METHODS, FIRSTS)


def test_what_is_done_after_a_training_can_be_the_best_on_held_out_images_too(work):
    own = "--rows=softmax,square root softmax,post-hoc logit adjustment"
    made = run(*METHODS, own, "--validation_fraction=0.1")
    text = (work / "out" / "methods.md").read_text()
    assert (
        "- digits: the best method by balanced accuracy on held-out images is post-hoc logit "
        "adjustment (.7000), which has .8000 on the test set.\n"
    ) in text
    assert "left out of that choice" not in text
    after = next(job for job in made.jobs if not job.trains)
    change(after.folder / after.figures, validation=None)  # as an older version left it
    run(*METHODS, own, "--validation_fraction=0.1")
    text = (work / "out" / "methods.md").read_text()
    assert "the best method by balanced accuracy on held-out images is softmax (.5000)" in text
    assert (
        "- Without figures on the held-out images, and so left out of that choice: post-hoc logit "
        "adjustment; where its file (posthoc_*.json of the run) is deleted, the same command "
        "measures them.\n"
    ) in text


def test_figures_of_other_images_are_left_out_and_told(work, capsys):
    job = run(*METHODS, FIRSTS).jobs[1]
    change(job.folder / "config.json", data={"name": "digits", "test": {"images": 2000}})
    change(job.folder / job.figures, test_data={"images": 2000})
    own = json.loads((job.folder / job.figures).read_text())
    theirs = {**own, "posthoc": {"steps": ["tau_norm"], "tau": 3.0}, "test_data": {"images": 1}}
    (job.folder / "posthoc_mine.json").write_text(json.dumps(theirs))
    run(*METHODS, FIRSTS)
    assert (
        f"left out of results.csv: {job.folder / 'posthoc_mine.json'}, which was measured on other"
    ) in capsys.readouterr().out
    assert [r["posthoc"] for r in rows(work / "out") if r["posthoc"]] == ["logit_adjustment tau 1"]
    change(job.folder / job.figures, test_data={"images": 1})
    with pytest.raises(UserError, match=r"tau1\.json was measured on other images than the run"):
        run(*METHODS, FIRSTS)


def test_other_runs_of_the_folder_are_told_with_their_number(work):
    run(*METHODS, "--rows=softmax,VS,CDT,post-hoc logit adjustment")
    assert "results.csv alone" not in (work / "out" / "methods.md").read_text()
    run(*METHODS, "--rows=softmax")
    text = (work / "out" / "methods.md").read_text()
    told = "\nOf this folder results.csv alone has 2 other finished runs and 1 other evaluation.\n"
    assert told in text
    assert len(rows(work / "out")) == 4
    run("--table=power", *METHODS[1:])  # whose run of power 0 is that of the row
    assert (
        "\nOf this folder results.csv alone has 2 other finished runs and 1 other evaluation.\n"
    ) in (work / "out" / "power.md").read_text()


def test_a_first_stage_without_its_network_is_told_before_anything_is_trained(work):
    run(*METHODS, "--rows=softmax")
    (work / "calls.txt").unlink()
    with pytest.raises(UserError, match=r"_crt_.* begins with .*model\.keras, which is not there"):
        run(*METHODS, "--rows=softmax,cRT")
    assert not (work / "calls.txt").exists()


@pytest.mark.parametrize(("depth", "channels", "classes"), [(8, 1, 10), (20, 3, 100)])
def test_the_parameters_are_those_of_the_network(depth, channels, classes):
    import cb_keras

    network = cb_keras.resnet_cifar(depth, (16, 16, channels), classes)
    number = sum(variable.numpy().size for variable in network.trainable_variables)
    assert resnet.parameters(depth, channels, classes) == number


def test_a_row_is_what_it_is_called_whatever_a_preset_says(work, monkeypatch):
    monkeypatch.setattr(cli, "is_only_in_a_flagfile", lambda name: name in STRONG)
    made = run(*METHODS, "--rows=softmax,VS", f"--flagfile={presets.FOLDER / 'strong.flags'}")
    for cell in made.cells:
        found = {name: cell.settings[name] for name in table.TABLE.varies if name in STRONG}
        assert found == {name: presets.default(name) for name in found}
        assert {"sam_rho", "randaugment", "cutout", "ema"} <= {*found}
        assert cell.settings["weight_decay"] == STRONG["weight_decay"]  # which no row varies
