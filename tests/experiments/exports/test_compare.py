"""experiments.compare: two runs on the same test images, from predictions or from the models."""

import json
import shutil

import numpy as np
import pytest
import scipy.stats

from experiments import datasets
from experiments.cli import UserError
from tests.experiments.cases import Run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def compared(short_run, digits_run, call_compare, tmp_path_factory):
    """What is written about the two runs of the tests."""
    output = tmp_path_factory.mktemp("compared") / "c.json"
    call_compare(short_run.folder, digits_run.folder, f"--output={output}", "--resamples=100")
    return json.loads(output.read_text())


@pytest.fixture
def copied(digits_run, tmp_path):
    """A copy of a run that a test may change."""
    return Run(shutil.copytree(digits_run.folder, tmp_path / "copy"))


def test_the_figures_are_those_of_the_runs_and_the_differences_theirs(
    compared, short_run, digits_run
):
    for name, figure in compared["figures"].items():
        a, b = (run.metrics[name] for run in (short_run, digits_run))
        assert (figure["a"], figure["b"]) == pytest.approx((a, b))
        assert figure["difference"] == pytest.approx(b - a)
        assert figure["interval"][0] <= figure["interval"][1]
    assert len(compared["figures"]) == 8
    test = compared["mcnemar"]
    right = test["both_right"] + test["b_alone"], test["both_right"] + test["a_alone"]
    assert right == tuple(500 * run.metrics["accuracy"] for run in (digits_run, short_run))
    expected = scipy.stats.binomtest(test["a_alone"], test["a_alone"] + test["b_alone"]).pvalue
    assert test["p_value"] == pytest.approx(expected, rel=1e-9)
    assert compared["a"]["probabilities"] == "normalized_sigmoid"
    assert compared["different_settings"]["loss"] == {"a": "focal", "b": "softmax"}


def test_settings_without_effect_are_not_told_and_those_of_one_method_are(
    digits_run, copied, call_compare, tmp_path, capsys
):
    flags = {**copied.config["flags"], "eval_batch_size": 7}
    change(copied, flags={**flags, "method": "vs", "vs_gamma": 0.3, "max_margin": 0.7})
    output = tmp_path / "c.json"
    call_compare(digits_run.folder, copied.folder, f"--output={output}", "--resamples=5")
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  --")]
    assert told == [
        "  --cb_beta: 0.9999 in A, without effect in B",
        "  --cb_normalize: classes in A, without effect in B",
        "  --cb_power: 1 in A, without effect in B",
        "  --method: class_balanced in A, vs in B",
        "  --tau: without effect in A, 1 in B",
        "  --vs_gamma: without effect in A, 0.3 in B",
    ]
    assert json.loads(output.read_text())["different_settings"] == {
        "cb_beta": {"a": 0.9999, "b": None},
        "cb_normalize": {"a": "classes", "b": None},
        "cb_power": {"a": 1.0, "b": None},
        "method": {"a": "class_balanced", "b": "vs"},
        "tau": {"a": None, "b": 1.0},
        "vs_gamma": {"a": None, "b": 0.3},
    }


def test_with_predictions_no_data_are_loaded_and_the_result_is_the_same(
    compared, short_run, copied, call_compare, call_evaluate, monkeypatch, tmp_path, capsys
):
    first = Run(shutil.copytree(short_run.folder, tmp_path / "first"))
    for run, form in ((first, "raw"), (copied, "normalized")):
        file = run.folder / "predictions.npz"
        call_evaluate(
            *(f"--saved_model={run.folder / 'saved_model'}", f"--predictions={file}"),
            f"--probabilities={form}",
        )
        shutil.rmtree(run.folder / "saved_model")
    monkeypatch.setattr(datasets, "load", lambda *_: pytest.fail("data were loaded"))
    output = tmp_path / "c.json"
    capsys.readouterr()
    call_compare(first.folder, copied.folder, f"--output={output}", "--resamples=100")
    found = json.loads(output.read_text())
    for key in ("figures", "mcnemar", "different_settings"):
        assert found[key] == compared[key]
    printed = capsys.readouterr().out
    assert "--loss: focal in A, softmax in B" in printed
    assert "500 test images of digits" in printed
    assert "with the same seed: intervals and p tell of other test images, not of" in printed


def test_predictions_of_another_model_are_told_and_not_used(
    compared, short_run, copied, call_compare, call_evaluate, tmp_path, capsys
):
    saved = short_run.folder / "saved_model"
    call_evaluate(f"--saved_model={saved}", f"--predictions={copied.folder / 'predictions.npz'}")
    output = tmp_path / "c.json"
    call_compare(short_run.folder, copied.folder, f"--output={output}", "--resamples=100")
    assert (
        "is not what metrics.json of its run is of: the model is asked" in capsys.readouterr().out
    )
    assert json.loads(output.read_text())["figures"] == compared["figures"]


def error(call_compare, *arguments):
    with pytest.raises(UserError) as caught:
        call_compare(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def change(run, **changes):
    (run.folder / "config.json").write_text(json.dumps({**run.config, **changes}))


def test_runs_on_different_test_images_are_refused_in_words(digits_run, copied, call_compare):
    data = copied.config["data"]
    change(copied, data={**data, "test": {**data["test"], "pixels": "0" * 32}})
    message = error(call_compare, digits_run.folder, copied.folder)
    assert f"{digits_run.folder} (there) and {copied.folder} (here) were tested on different" in (
        message
    )
    assert "(other pixels in the test images): compare runs that were tested on the same" in message


def test_runs_with_other_classes_are_refused_in_words(digits_run, copied, call_compare):
    change(copied, class_names=[*"012345678", "nine"])
    message = error(call_compare, digits_run.folder, copied.folder)
    assert "class 9 is '9' there, 'nine' here" in message


def test_runs_with_the_same_test_images_and_other_training_images_are_compared(
    digits_run, copied, call_compare, capsys
):
    data = copied.config["data"]
    train = {**data["train"], "pixels": "0" * 32}
    groups = {"many": [0], "medium": [1], "few": list(range(2, 10))}
    flags = {**copied.config["flags"], "seed": 5}
    change(copied, data={**data, "train": train}, shot_groups=groups, flags=flags)
    figures = copied.metrics
    recalls = figures["per_class_accuracy"]
    for name, ids in groups.items():
        figures[f"{name}_accuracy"] = float(np.mean([recalls[c] for c in ids]))
    (copied.folder / "metrics.json").write_text(json.dumps(figures))
    call_compare(digits_run.folder, copied.folder, "--resamples=5")
    printed = capsys.readouterr().out
    assert "other shot groups, or recorded none: no many, medium, few accuracy" in printed
    assert "few accuracy  " not in printed
    assert "with the seeds 0 and 5" in printed
    assert "McNemar's exact test: p = 1" in printed


def test_a_damaged_file_of_predictions_is_refused_with_the_remedy(digits_run, copied, call_compare):
    file = copied.folder / "predictions.npz"
    file.write_bytes(b"PK\x03\x04 half a file")
    message = error(call_compare, copied.folder, digits_run.folder)
    assert f"{file} is not a file of predictions (" in message
    assert "delete it, and the model is asked again" in message


def test_wrong_arguments_are_refused_before_anything_is_read(digits_run, call_compare, tmp_path):
    folders = [digits_run.folder] * 2
    assert "--resamples must be at least 1, got 0" in error(call_compare, *folders, "--resamples=0")
    assert "is a folder; name a file" in error(call_compare, *folders, f"--output={tmp_path}")
    assert "holds no finished run" in error(call_compare, digits_run.folder, tmp_path)
    assert "RUN_B=gs://b/r is a URL" in error(call_compare, digits_run.folder, "gs://b/r")
