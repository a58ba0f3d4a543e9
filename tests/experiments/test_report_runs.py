"""Which runs a report is about, and what is wrong with the others."""

import json
import os

import numpy as np
import pytest

from experiments import report_runs
from tests.experiments.report_folders import COUNTS, metrics_of, write_run


def test_runs_are_found_at_any_depth_but_not_inside_runs_hidden_folders_or_links(tmp_path):
    write_run(tmp_path / "runs" / "a" / "b" / "deep")
    write_run(tmp_path / "runs" / "a" / "b" / "deep" / "inner")
    write_run(tmp_path / "runs" / ".unfinished-x")
    write_run(tmp_path / "elsewhere")
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "elsewhere")
    found = report_runs.find(tmp_path / "runs")
    assert [run.name for run in found.runs] == ["a/b/deep"]
    (itself,) = report_runs.find(tmp_path / "elsewhere").runs
    assert itself.name == "elsewhere"


def test_runs_without_metrics_are_unfinished_with_the_epochs_they_have(tmp_path):
    write_run(tmp_path / "begun", None, epochs=3)
    (write_run(tmp_path / "fresh", None) / "history.csv").unlink()
    found = report_runs.find(tmp_path)
    assert found.unfinished == [("begun", 3, 4), ("fresh", 0, 4)]
    assert found.runs == found.damaged == []


BIG = "1" + "0" * 400
DAMAGES = {
    "config.json": [
        (None, "config.json is missing"),
        ("{", "config.json is no valid JSON"),
        ("[" * 100_000, "config.json is no valid JSON"),
        ("\udcff", "config.json is no valid JSON"),
        ("[]", "config.json was not written by experiments.train"),
        ({"flags": 3}, "`flags` is missing"),
        ({"class_counts": [1, "2", 3]}, "`class_counts` is missing or not"),
        ({"class_counts": []}, "`class_counts` is missing or not"),
        ({"class_weights": [1.0, 2.0]}, "`class_weights` is missing or not one for each"),
        ({"class_names": ["a", "b", 3]}, "`class_names` is missing or not one for each"),
        ({"shot_groups": {"none": [0]}}, "`shot_groups` is missing or not"),
        ({"shot_groups": {"few": "2"}}, "`shot_groups` is missing or not"),
        ({"versions": "3.11"}, "`versions` is missing or not"),
        ({"sessions": ["3.11"]}, "`sessions` is missing or not"),
    ],
    "metrics.json": [
        ("{}}", "metrics.json is no valid JSON"),
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
    found = report_runs.find(tmp_path)
    assert [run.name for run in found.runs] == ["good"]
    ((bad, told),) = found.damaged
    assert bad == "bad"
    assert reason in told


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path):
    path = write_run(tmp_path / "run") / "config.json"
    path.unlink()
    os.mkfifo(path)
    assert report_runs.find(tmp_path).damaged == [("run", "config.json is missing")]


def test_epochs_without_a_number_leave_gaps(tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "history.csv").write_text("epoch,loss,val_accuracy\n1,nan,\n2,inf,0.5\n")
    (run,) = report_runs.find(tmp_path).runs
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
