"""The figures of metrics.json that came later: older runs lack them, wrong ones are refused."""

import pytest

from experiments.runs import schema
from experiments.runs.schema import DamagedError
from tests.experiments.report_folders import COUNTS, metrics_of

CONFIG = {"class_counts": COUNTS, "shot_groups": {}}
MACRO_F1 = 0.5837104  # of the matrix of metrics_of, by scikit-learn
INTERVALS = {
    **{"level": 0.95, "resamples": 1000, "seed": 0, "method": "percentiles"},
    **{"accuracy": [0.55, 0.65], "balanced_accuracy": [0.55, 0.65], "macro_f1": [0.5, 0.6]},
    **{"many_accuracy": None, "medium_accuracy": None, "few_accuracy": [0.2, 0.4], "nll": None},
}
MEASURED = {
    **{"macro_f1": MACRO_F1, "auc": 0.8, "ece": 0.1, "nll": 1.5, "support": [100] * 3},
    **{f"per_class_{name}": [0.5, None, 1] for name in ("precision", "f1", "auc")},
    "probabilities": "softmax",
    "reliability": {"images": [0, 300], "confidence": [None, 0.9], "accuracy": [None, 0.6]},
    "intervals": INTERVALS,
}
ADDED = set(MEASURED)


def checked(**changes):
    metrics = {**metrics_of((0.9, 0.6, 0.3)), **changes}
    schema.check_metrics(metrics, CONFIG)
    return metrics


def test_an_older_run_has_null_for_what_it_did_not_measure_but_its_images_are_counted():
    metrics = checked()
    assert {name: metrics[name] for name in ADDED - {"support"}} == dict.fromkeys(
        ADDED - {"support"}
    )
    assert metrics["support"] == [100, 100, 100]


def test_what_the_trainer_writes_is_taken(short_run):
    schema.check_metrics(short_run.metrics, short_run.config)
    assert set(short_run.metrics) >= ADDED


def test_all_that_is_measured_may_be_there():
    assert {name: checked(**MEASURED)[name] for name in ADDED} == MEASURED


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"macro_f1": 0.7}, "`macro_f1` is 0.7, but its confusion_matrix gives 0.5837"),
        ({"ece": 1.5}, "`ece` is missing or not 0 to 1 or null"),
        ({"nll": -1}, "`nll` is missing or not a number >= 0 or null"),
        ({"auc": "high"}, "`auc` is missing or not 0 to 1 or null"),
        ({"per_class_f1": [0.5, 0.5]}, "`per_class_f1` is missing or not 3 of 0 to 1 or null"),
        ({"per_class_auc": [0.5, 2, 0.5]}, "`per_class_auc` is missing or not 3 of"),
        ({"support": [100, 100, 99]}, "`support` is missing or not the images of each class in"),
        ({"probabilities": 1}, "`probabilities` is missing or not a name or null"),
        ({"reliability": []}, "`reliability` is missing"),
        ({"reliability": {"images": [1], "confidence": [0.5]}}, "`reliability` is missing"),
        ({"intervals": {**INTERVALS, "level": "95%"}}, "`intervals` is missing"),
        ({"intervals": {**INTERVALS, "accuracy": 0.6}}, "`intervals` is missing"),
        ({"intervals": {**INTERVALS, "accuracy": [0.7, 0.6]}}, "`intervals` is missing"),
        ({"intervals": {**INTERVALS, "later": {}}}, "`intervals` is missing"),
    ],
)
def test_a_figure_that_is_none_is_refused_by_name(changes, words):
    with pytest.raises(DamagedError, match=r"^metrics\.json: ") as caught:
        checked(**{**MEASURED, **changes})
    assert words in str(caught.value)
