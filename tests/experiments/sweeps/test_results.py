"""results.csv, and which runs in the folder of a sweep are in it."""

import csv
import io

import pytest

from cb_keras.metrics import classification_report, shot_groups
from experiments.sweeps import results
from tests.experiments.sweeps.cases import SETTINGS, metrics

FOCAL = {**SETTINGS, "seed": 0, "cb_power": 0.5}
DESIGN = (
    "dataset,method,loss,cb_power,cb_beta,gamma,imbalance_factor,seed,epochs,accuracy,"
    "balanced_accuracy,few_accuracy,train_seconds,images_per_second,many_accuracy,medium_accuracy,"
    "ece,nll"
)


def run(settings, figures, added=()):
    return results.Run(settings, figures, added, None, "thresholds")


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_results_csv_has_the_columns_of_the_design_and_one_row_a_run():
    natural = {**SETTINGS, "seed": 1, "loss": "softmax", "long_tail": "natural"}
    measured = {**metrics(0.7), "ece": 0.03, "nll": 0.4}
    runs = [run(FOCAL, measured), run(natural, metrics(0.6, few=None))]
    text = results.csv_text(runs)
    assert text.splitlines()[0] == DESIGN
    first, second = read(text)
    assert (first["loss"], first["gamma"], first["imbalance_factor"]) == ("focal", "1.0", "0.02")
    assert (first["accuracy"], first["epochs"], first["seed"]) == ("0.7", "200", "0")
    assert (first["many_accuracy"], first["medium_accuracy"]) == ("0.875", "0.75")
    assert (first["ece"], first["nll"], second["ece"], second["nll"]) == ("0.03", "0.4", "", "")
    assert first["method"] == second["method"] == "class_balanced"
    # What a run does not have is left empty.
    assert (second["loss"], second["gamma"], second["imbalance_factor"]) == ("softmax", "", "")
    assert (second["cb_power"], second["few_accuracy"]) == ("1.0", "")


def test_a_flag_that_a_grid_varies_has_a_column_unless_there_is_one():
    varied = ("train_epochs", "lr_boundaries", "gamma", "deterministic")
    settings = {**FOCAL, "lr_boundaries": [0.5, 0.7], "deterministic": True}
    text = results.csv_text([run(settings, metrics(0.7)), run(FOCAL, metrics(0.6))], varied)
    assert text.splitlines()[0] == f"{DESIGN},lr_boundaries,deterministic"
    found = {row["accuracy"]: row for row in read(text)}
    assert (found["0.7"]["lr_boundaries"], found["0.7"]["deterministic"]) == ("0.5,0.7", "true")
    assert found["0.6"]["lr_boundaries"] == ""  # of a run that did not record it


def test_a_sampler_has_a_column_where_a_run_has_another_than_the_usual():
    runs = [run({**FOCAL, "sampler": s}, metrics(0.7)) for s in ("uniform", "square_root")]
    assert results.csv_text(runs[:1]).splitlines()[0] == DESIGN
    text = results.csv_text(runs)
    assert text.splitlines()[0] == f"{DESIGN},sampler"
    assert [row["sampler"] for row in read(text)] == ["square_root", "uniform"]


def test_a_run_of_a_grid_keeps_its_column_when_a_table_is_written_next_to_it():
    runs = [run({**FOCAL, "depth": d}, metrics(0.7), a) for d, a in ((32, ()), (8, ("depth",)))]
    text = results.csv_text(runs)
    assert text.splitlines()[0] == f"{DESIGN},depth"
    assert [row["depth"] for row in read(text)] == ["32", "8"]


def test_the_figure_to_choose_by_has_a_column_where_a_run_has_it():
    runs = [
        run(FOCAL, {**metrics(0.7), "validation_balanced_accuracy": 0.65}),
        run(FOCAL, metrics(0.6)),
    ]
    rows = list(csv.DictReader(io.StringIO(results.csv_text(runs))))
    assert sorted(row["validation_balanced_accuracy"] for row in rows) == ["", "0.65"]
    assert "validation_balanced_accuracy" not in results.csv_text(runs[1:])


def test_shot_figures_follow_the_rule_of_today_whatever_rule_a_run_recorded():
    counts, recalls = [90, 30, 30, 30], [0.9, 0.8, 0.7, 0.3]
    confusion = [[0] * 4 for _ in recalls]
    for c, recall in enumerate(recalls):
        confusion[c][c] = round(100 * recall)
        confusion[c][(c + 1) % 4] = 100 - confusion[c][c]
    # Of very many classes a run keeps no confusion matrix.
    old = {"accuracy": 0.675, "confusion_matrix": None, "few_accuracy": 0.3}
    old["per_class_accuracy"] = recalls
    config = {"class_counts": counts, "shot_rule": "thirds"}
    found, there, today = results.with_todays_shot_groups(config, old)
    assert found["few_accuracy"] == pytest.approx((0.8 + 0.7 + 0.3) / 3, abs=1e-15)
    assert found["accuracy"] == 0.675
    assert found["many_accuracy"] == classification_report(confusion, counts)["many_accuracy"]
    assert (there, today) == ("thirds", shot_groups(counts)[1])


def test_shot_figures_of_a_file_with_integers_beyond_those_of_numpy_are_computed():
    config = {"class_counts": [10**250, 30, 30], "shot_rule": "thirds"}
    figures = {"per_class_accuracy": [1.0, 0.5, 0.25], "few_accuracy": 0.25}
    found, there, today = results.with_todays_shot_groups(config, figures)
    assert (there, today) == ("thirds", "moved_thirds")
    assert [found[f"{g}_accuracy"] for g in ("many", "medium", "few")] == [1.0, None, 0.375]
