"""Which runs a report is about, and what is wrong with the others."""

import json
import os

import numpy as np
import pytest

from experiments.reporting import found
from tests.experiments.report_folders import COUNTS, FLAGS, metrics_of, write_run


def names_in(folder):
    below = found.find(folder)
    assert below.unfinished == below.damaged == []
    return [run.name for run in below.runs]


def test_runs_are_found_at_any_depth_also_inside_runs_but_not_in_what_a_run_makes(tmp_path):
    deep = write_run(tmp_path / "runs" / "a" / "b" / "deep")
    write_run(deep / "inner" / "most")
    for name in ("checkpoint", "plots", "saved_model", "saved_model.tmp", "tensorboard"):
        write_run(deep / name / "copy")
    write_run(tmp_path / "runs" / ".unfinished-x")
    assert names_in(tmp_path / "runs") == ["a/b/deep", "a/b/deep/inner/most"]
    write_run(tmp_path / "plots" / "itself")  # the name alone makes it no part of a run
    assert names_in(tmp_path / "plots") == ["itself"]
    assert names_in(tmp_path / "plots" / "itself") == ["itself"]


def test_runs_behind_links_are_found_once_and_loops_end(tmp_path):
    runs, other = tmp_path / "below" / "runs", tmp_path / "other"
    write_run(runs / "m")
    write_run(other / "x" / "y")
    for link, target in {
        runs / "a": other / "x",  # in two ways, to a folder above the run
        runs / "b": other / "x" / "y",
        runs / "c": runs / "m",  # doubles
        runs / "z": runs,  # loops
        other / "x" / "back": other,
        runs / "up": tmp_path,
        runs / "gone": tmp_path / "nothing",
        runs / "itself": runs / "itself",
    }.items():
        link.symlink_to(target)
    assert names_in(runs) == ["a/y", "m"]
    only = tmp_path / "only"
    only.mkdir()
    (only / "link").symlink_to(runs / "m")
    assert names_in(only) == ["link"]
    assert names_in(only / "link") == ["link"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", json.dumps(metrics_of((0.9, 0.6, 0.3)))),
        ("config.json", '{"a": 1}'),
        ("config.json", "no JSON"),
        ("history.csv", "epoch\n1\n"),
    ],
)
def test_a_file_of_another_program_hides_no_run_below(tmp_path, name, content):
    write_run(tmp_path / "runs" / "a")
    (tmp_path / name).write_text(content)
    assert names_in(tmp_path) == ["runs/a"]


GROUPS = {"shot_groups": {"many": [0], "medium": [1], "few": [2]}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"accuracy": 0.99}, "`accuracy` is 0.99, but its confusion_matrix gives 0.6"),
        ({"accuracy": 0.6 + 2e-6}, "`accuracy` is 0.600002, but"),
        ({"balanced_accuracy": 0.5}, "`balanced_accuracy` is 0.5, but"),
        ({"per_class_accuracy": [0.9, 0.5, 0.3]}, "`per_class_accuracy[1]` is 0.5, but"),
        ({"per_class_accuracy": [0.9, None, 0.3]}, "`per_class_accuracy[1]` is null, but"),
        ({"few_accuracy": 0.31}, "`few_accuracy` is 0.31, but its confusion_matrix gives 0.3"),
        ({"many_accuracy": ...}, "`many_accuracy` is null, but its confusion_matrix gives 0.9"),
        ({"confusion_matrix": [[1, 0, 0]] * 3}, "`accuracy` is 0.6, but"),
        ({"confusion_matrix": [[0] * 3] * 3}, "`confusion_matrix` is missing or not of one test"),
    ],
)
def test_a_figure_that_is_not_its_confusion_matrices_is_refused(tmp_path, change, words):
    write_run(tmp_path / "run", config=GROUPS, metrics=change)
    ((_, told),) = found.find(tmp_path).damaged
    assert words in told


def test_the_shot_groups_are_those_that_the_run_recorded(tmp_path):
    older = {"many": [0, 1], "medium": [2], "few": []}
    figures = {"many_accuracy": 0.75, "medium_accuracy": 0.3, "few_accuracy": ...}
    write_run(tmp_path / "a", config={"shot_groups": older}, metrics=figures)
    write_run(tmp_path / "b", metrics={"few_accuracy": 0.7})  # of a rule that it did not record
    not_measured = dict.fromkeys(figures)  # older still: without the keys
    write_run(tmp_path / "c", config=GROUPS, metrics=not_measured)
    write_run(tmp_path / "d", metrics={"accuracy": 0.6 + 9e-7})  # rounded
    assert names_in(tmp_path) == ["a", "b", "c", "d"]


def test_runs_without_metrics_are_unfinished_with_the_epochs_they_have(tmp_path):
    write_run(tmp_path / "begun", None, epochs=3)
    (write_run(tmp_path / "fresh", None) / "history.csv").unlink()
    below = found.find(tmp_path)
    assert below.unfinished == [("begun", 3, 4), ("fresh", 0, 4)]
    assert below.runs == below.damaged == []


BIG = "1" + "0" * 400
DAMAGES = {
    "config.json": [
        (None, "config.json is missing"),
        ("{", "config.json is not valid JSON"),
        ("[" * 100_000, "config.json is not valid JSON"),
        ("\udcff", "config.json is not valid JSON"),
        ("[]", "config.json was not written by experiments.train"),
        ({"flags": 3}, "`flags` is missing"),
        ({"flags": {**FLAGS, "loss": None}}, "`flags.loss` is missing or not"),
        ({"flags": {**FLAGS, "method": 3}}, "`flags.method` is missing or not"),
        ({"flags": {**FLAGS, "cb_power": "1"}}, "`flags.cb_power` is missing or not"),
        ({"flags": {**FLAGS, "cb_beta": None}}, "`flags.cb_beta` is missing or not"),
        ({"flags": {**FLAGS, "loss": "focal", "gamma": []}}, "`flags.gamma` is missing or not"),
        ({"flags": {**FLAGS, "imbalance_factor": None}}, "`flags.imbalance_factor` is missing"),
        ({"flags": {**FLAGS, "seed": True}}, "`flags.seed` is missing or not"),
        ({"class_counts": [1, "2", 3]}, "`class_counts` is missing or not"),
        ({"class_counts": [1000, 100.5, 10]}, "`class_counts` is missing or not"),
        ({"class_counts": []}, "`class_counts` is missing or not"),
        ({"class_weights": [1.0, 2.0]}, "`class_weights` is missing or not one for each"),
        ({"class_names": ["a", "b", 3]}, "`class_names` is missing or not one for each"),
        ({"shot_groups": {"none": [0]}}, "`shot_groups` is missing or not"),
        ({"shot_groups": {"few": "2"}}, "`shot_groups` is missing or not"),
        ({"shot_groups": {"few": [3]}}, "`shot_groups` is missing or not"),
        ({"versions": "3.11"}, "`versions` is missing or not"),
        ({"sessions": ["3.11"]}, "`sessions` is missing or not"),
    ],
    "metrics.json": [
        ("{}}", "metrics.json is not valid JSON"),
        ({"accuracy": 1.5}, "`accuracy` is missing or not 0 to 1"),
        ({"accuracy": None}, "`accuracy` is missing or not 0 to 1"),
        ({"balanced_accuracy": float("nan")}, "`balanced_accuracy` is missing or not 0 to 1"),
        ({"few_accuracy": "high"}, "`few_accuracy` is missing or not 0 to 1 or null"),
        ({"per_class_accuracy": [1.0]}, "`per_class_accuracy` is missing or not 3 of 0 to 1"),
        ({"confusion_matrix": [[1, 2, 3]]}, "`confusion_matrix` is missing or not 3 x 3"),
        ({"confusion_matrix": [[1, 2, -3]] * 3}, "`confusion_matrix` is missing or not 3 x 3"),
        ({"epochs": None}, "`epochs` is missing"),
        ({"train_seconds": None}, "`train_seconds` is missing"),
        ({"images_per_second": int(BIG)}, "`images_per_second` is missing or not a number"),
    ],
    "history.csv": [
        (None, "history.csv is missing"),
        ("epoch,loss\none,1\n", "history.csv can't be understood"),
        ("loss\n1\n", "history.csv can't be understood"),
        (f"epoch,loss\n{BIG},1\n", "history.csv can't be understood"),
        ("\udcff", "history.csv can't be understood"),
    ],
}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [(name, *damage) for name, damages in DAMAGES.items() for damage in damages],
    ids=lambda value: str(value)[:40].encode("ascii", "replace").decode(),
)
def test_a_damaged_run_is_listed_with_the_reason_and_the_others_are_read(
    tmp_path, name, content, reason
):
    write_run(tmp_path / "good")
    path = write_run(tmp_path / "bad") / name
    if content is None:
        path.unlink()
    elif isinstance(content, dict):
        path.write_text(json.dumps({**json.loads(path.read_text()), **content}))
    else:
        path.write_bytes(content.encode(errors="surrogateescape"))
    below = found.find(tmp_path)
    assert [run.name for run in below.runs] == ["good"]
    ((bad, told),) = below.damaged
    assert bad == "bad"
    assert reason in told


@pytest.mark.parametrize(
    ("flags", "label"),
    [
        ({"gamma": None}, "softmax"),  # which has no gamma
        ({"loss": "focal", "gamma": 2}, "focal, gamma 2"),
        ({"loss": "hinge", "gamma": None}, "hinge"),
        ({"method": "class_balanced"}, "softmax"),
        ({"method": "later", "cb_beta": None}, "later, softmax"),
    ],
)
def test_a_run_is_called_as_its_method_calls_it_and_an_unknown_one_by_its_names(
    tmp_path, flags, label
):
    write_run(tmp_path / "run", **flags)
    below = found.find(tmp_path)
    assert [run.label for run in below.runs] == [label], below.damaged


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path):
    path = write_run(tmp_path / "run") / "config.json"
    path.unlink()
    os.mkfifo(path)
    assert found.find(tmp_path).damaged == [("run", "config.json is missing")]


def test_epochs_without_a_number_leave_gaps(tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "history.csv").write_text("epoch,loss,val_accuracy\n1,nan,\n2,inf,0.5\n")
    (run,) = found.find(tmp_path).runs
    assert run.history == [
        {"epoch": 1, "loss": None, "val_accuracy": None},
        {"epoch": 2, "loss": None, "val_accuracy": 0.5},
    ]


def test_the_examples_are_as_the_library_would_report_them():
    from cb_keras import metrics

    mine = metrics_of((0.9, 0.6, 0.3))
    theirs = metrics.classification_report(np.array(mine["confusion_matrix"]), COUNTS)
    for key, value in theirs.items():
        np.testing.assert_allclose(mine[key], value, err_msg=key)
