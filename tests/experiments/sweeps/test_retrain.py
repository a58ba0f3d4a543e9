"""The cell that is best on held-out images, trained again on all of them."""

import json

import pytest

from experiments import sweep
from experiments.cli import UserError
from experiments.sweeps.launchers import LAUNCHERS
from tests.experiments.cases import call
from tests.experiments.sweeps.cases import calls, change, held_out, launch, prepare

GRID = (
    *("--grid=cb_power=0,0.5,1", "--output_dir=out", "--dataset=digits", "--train_epochs=20"),
    *("--seeds=0,1", "--validation_fraction=0.1", "--retrain"),
)


def _best_at_the_square_root(settings):
    return 0.9 if settings["cb_power"] == 0.5 else 0.8


def prepared(*arguments, figure=_best_at_the_square_root):
    """The sweep, whose cells have `figure(settings)` on held-out images, and other test figures."""
    made = prepare(*arguments)
    with open("prepared.json") as file:
        found = json.load(file)
    for cell, job in zip(made.cells, made.jobs, strict=True):
        metrics = json.loads(found[job.name]["metrics.json"])
        metrics |= {"split": "test", "validation": held_out(figure(cell.settings))}
        found[job.name]["metrics.json"] = json.dumps(metrics)
    with open("prepared.json", "w") as file:
        json.dump(found, file)
    return made


def test_the_cell_that_is_best_on_held_out_images_is_trained_again_on_all_images(work):
    made = prepared(*GRID)
    call(sweep.main, *GRID)
    best = [
        j.name for c, j in zip(made.cells, made.jobs, strict=True) if c.settings["cb_power"] == 0.5
    ]
    assert calls(work) == [*(job.name for job in made.jobs), *best]
    text = (work / "out" / "grid.md").read_text()
    assert "the best cell by balanced accuracy on held-out images is cb_power 0.5 (.9000" in text
    assert (
        "- digits, cell cb_power 0.5, trained again on all training images (2 of 2 runs, in "
        "chosen/): accuracy .6550 ± .0071, balanced .6550 ± .0071, few .6550 ± .0071 on the test "
        "set."
    ) in text
    assert sorted(p.name for p in (work / "out" / "chosen" / "runs").iterdir()) == sorted(best)
    call(sweep.main, *GRID)  # nothing is trained twice
    assert len(calls(work)) == 8
    config = work / "out" / "chosen" / "runs" / best[0] / "config.json"
    change(config, flags={**json.loads(config.read_text())["flags"], "learning_rate": 0.7})
    with pytest.raises(UserError, match=r"--learning_rate is 0\.7 there, 0\.1 here"):
        call(sweep.main, *GRID)


def test_shot_figures_of_other_classes_than_those_of_the_table_are_told(work):
    recalls, names = [0.9, 0.8, 0.7, 0.2], ["plane", "car", "ship", "frog"]
    # Many, medium, few, few; and of all images many, many, medium, few (100 and 20 are the limits).
    held, whole = [400, 96, 19, 8], [500, 120, 24, 10]
    confusion = [[0] * 4 for _ in names]
    for c, recall in enumerate(recalls):
        confusion[c][c], confusion[c][c - 1] = round(100 * recall), 100 - round(100 * recall)
    prepared(*GRID)
    with open("prepared.json") as file:
        found = json.load(file)
    of_split = {"accuracy": 0.65, "balanced_accuracy": 0.65, "few_accuracy": None}
    of_split |= {"per_class_accuracy": recalls, "confusion_matrix": confusion}
    for own in found.values():
        config, metrics = json.loads(own["config.json"]), json.loads(own["metrics.json"])
        config |= {"class_counts": held, "class_names": names, "class_weights": [1.0] * 4}
        metrics |= {**of_split, "validation": {**metrics["validation"], **of_split}}
        own |= {"config.json": json.dumps(config), "metrics.json": json.dumps(metrics)}
    with open("prepared.json", "w") as file:
        json.dump(found, file)
    call(sweep.main, *GRID)
    text = (work / "out" / "grid.md").read_text()
    assert "few .4500 ± .0000 on the test set." in text
    assert "shot groups are not those" not in text
    for config in (work / "out" / "chosen").glob("runs/*/config.json"):
        change(config, class_counts=whole)
    call(sweep.main, *GRID)
    text = (work / "out" / "grid.md").read_text()
    assert "few .2000 ± .0000 on the test set." in text
    assert (
        "- digits, cell cb_power 0: with no images held out the classes are larger, and their shot "
        "groups are not those of the table: car is many-shot in chosen/, medium-shot in the table; "
        "ship is medium-shot in chosen/, few-shot in the table.\n"
    ) in text


def test_its_training_differs_from_the_cell_s_in_the_held_out_images_alone(work, monkeypatch):
    made = prepared(*GRID)
    again = {}

    def remember(jobs, *others):
        again.update((job.name, job) for job in jobs if "chosen" in job.folder.parts)
        launch(jobs, *others)

    monkeypatch.setitem(LAUNCHERS, "local", remember)
    call(sweep.main, *GRID)
    (first, *_) = [job for job in made.jobs if job.name in again]
    changed = {*again[first.name].arguments} ^ {*first.arguments}
    assert {argument.partition("=")[0] for argument in changed} == {
        *("--output_dir", "--validation_fraction", "--same_data_as"),
    }
    assert "--validation_fraction=0.1" in first.arguments


def test_a_second_stage_begins_with_a_run_on_all_images_too(work):
    arguments = ("--table=parameters", "--tuned=MiSLAS", *GRID[1:])
    made = prepared(*arguments, figure=lambda settings: settings.get("smooth_head", 0.1))
    call(sweep.main, *arguments)
    rows = {job.name: cell.row for cell, job in zip(made.cells, made.jobs, strict=True)}
    again = [rows[name] for name in calls(work)[len(rows) :]]
    assert again == 2 * ["softmax with mixup", "MiSLAS, smooth_head 0.5"]
    of_second = [name for name, row in rows.items() if row == "MiSLAS, smooth_head 0.5"]
    for name in of_second:
        settings = json.loads((work / "out/chosen/runs" / name / "config.json").read_text())[
            "flags"
        ]
        first = work / "out" / "chosen" / "runs" / settings["first_stage"]
        assert json.loads((first / "config.json").read_text())["flags"]["mixup_alpha"] == 1.0
    text = (work / "out" / "parameters.md").read_text()
    assert text.count("trained again on all training images") == 1
    assert "- MiSLAS, smooth_head 0.5, trained again on all training images (2 of 2 runs" in text


def test_while_a_cell_is_missing_nothing_is_chosen(work):
    made = prepared(*GRID)
    (work / "broken.txt").write_text(made.jobs[-1].name)
    with pytest.raises(SystemExit):
        call(sweep.main, *GRID)
    assert not (work / "out" / "chosen").exists()
    assert "trained again" not in (work / "out" / "grid.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (GRID[:5] + GRID[6:], "hold some out, --validation_fraction=0.1"),
        (
            ("--grid=validation_fraction=0,0.1", *GRID[1:5]),
            "no table mixes runs on different images",
        ),
        (("--grid=image_size=12,16", *GRID[1:]), "no table mixes runs on different images"),
        (("--table=2", *GRID[1:]), "--retrain has no effect on --table=2"),
        ((*GRID, "--first_stage=runs/first"), "--retrain can't be given with --first_stage"),
        ((*GRID, "--records=elsewhere"), "--records trains nothing; leave one of them out"),
    ],
)
def test_where_nothing_can_be_chosen_it_is_refused(work, arguments, words):
    with pytest.raises(UserError, match=words):
        call(sweep.main, *arguments)
