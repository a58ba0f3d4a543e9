"""A run on the digits: the files it leaves, and that its figures are what they say."""

import csv
import hashlib
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, recall_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import cb_keras
from experiments import datasets
from experiments.cli import UserError
from experiments.exports import evaluation, saved_model
from experiments.reporting.pictures import of_run
from experiments.runs import directory
from experiments.training import machine
from tests.experiments.cases import SHORT

COUNTS = [124, 80, 51, 33, 21, 14, 9, 5, 3, 2]  # int(124 * 0.02^(c / 9))
METRICS = {
    *("accuracy", "balanced_accuracy", "per_class_accuracy"),
    *("many_accuracy", "medium_accuracy", "few_accuracy", "confusion_matrix"),
    *("loss", "epochs", "train_seconds", "images_per_second"),
    *("per_class_precision", "per_class_f1", "per_class_auc", "support"),
    *("macro_f1", "auc", "ece", "nll", "probabilities", "reliability", "intervals"),
}


@pytest.fixture(scope="module")
def predictions(digits_run):
    """(labels, logits, classes) of the SavedModel on the test digits."""
    test = datasets.load("digits").test
    loaded = tf.saved_model.load(str(digits_run.folder / "saved_model"))
    outputs = loaded.signatures["serving_default"](images=tf.constant(test.images))
    return test.labels, outputs["logits"].numpy(), outputs["classes"].numpy()


# Files


def test_a_run_directory_holds_what_the_design_says_and_nothing_else(digits_run):
    assert {path.name for path in digits_run.folder.iterdir()} == {
        *("config.json", "history.csv", "metrics.json", "model.keras", "saved_model"),
        *("checkpoint", "plots", "tensorboard", "training_images.npy"),
    }


def test_the_configuration_tells_flags_data_weights_and_versions(digits_run):
    config = digits_run.config
    assert config["flags"]["train_epochs"] == 10
    assert config["flags"]["lr_boundaries"] == [0.8, 0.9]
    assert "output_dir" not in config["flags"]
    assert config["class_counts"] == COUNTS
    assert config["class_names"] == list("0123456789")
    data = datasets.load("digits")
    for name, split in (("train", data.train), ("test", data.test)):
        # Of the split as it is before the cut; by hashlib, over what tobytes() gives.
        for key, array in (("labels", split.labels), ("pixels", split.images)):
            text = f"{array.dtype.name} {array.shape}".encode() + array.tobytes()
            digest = hashlib.blake2b(text, digest_size=16).hexdigest()
            assert config["data"][name][key] == digest
        assert config["data"][name]["images"] == len(split.labels)
    assert config["data"]["name"] == "digits"
    # Cui et al. 2019, equations 2 and 4, in plain numpy.
    raw = (1 - 0.9999) / (1 - 0.9999 ** np.array(COUNTS, "float64"))
    np.testing.assert_allclose(config["class_weights"], 10 * raw / raw.sum(), rtol=1e-6)
    # Liu et al. 2019: many shot above 100 training images, few shot below 20.
    assert config["shot_rule"] == "thresholds"
    assert config["shot_groups"] == {"many": [0], "medium": [1, 2, 3, 4], "few": [5, 6, 7, 8, 9]}
    assert config["versions"]["keras"] == keras.__version__
    assert config["versions"]["tensorflow"] == tf.__version__
    assert config["versions"]["cb_keras"] == cb_keras.__version__
    assert {"python", "numpy"} <= set(config["versions"])
    assert len(config["device"]) >= 1
    assert config["command"].startswith("python -m experiments.train")


def test_the_history_has_a_row_an_epoch_and_test_figures_where_it_was_evaluated(digits_run):
    rows = digits_run.history
    assert list(rows[0]) == list(directory.HISTORY_COLUMNS)
    assert [row["epoch"] for row in rows] == [str(epoch) for epoch in range(1, 11)]
    for name in ("val_loss", "val_accuracy", "val_balanced_accuracy"):
        evaluated = [row["epoch"] for row in rows if row[name] != ""]
        assert evaluated == ["3", "6", "9"]  # --eval_epochs=3
    for name in ("loss", "accuracy", "balanced_accuracy", "learning_rate", "train_seconds"):
        assert np.isfinite(digits_run.column(name)).all()
    assert (np.diff(digits_run.column("train_seconds")) > 0).all()
    assert (np.array(digits_run.column("images_per_second")) > 0).all()


def test_the_history_has_the_rate_of_each_epochs_last_step(digits_run):
    # 11 steps an epoch (342 images in batches of 32): warm-up over the first 11, 0.1 until
    # epoch 8, then 1e-3, then 1e-5.
    expected = [0.1 * 10 / 11, *[0.1] * 7, 1e-3, 1e-5]
    np.testing.assert_allclose(digits_run.column("learning_rate"), expected, rtol=1e-5)


def test_the_run_learns_something(digits_run):
    assert digits_run.column("loss")[-1] < digits_run.column("loss")[0]
    assert digits_run.metrics["accuracy"] > 0.2  # chance is 0.1


def test_the_metrics_have_exactly_the_keys_of_the_design(digits_run):
    assert set(digits_run.metrics) == METRICS
    assert digits_run.metrics["epochs"] == 10
    last = digits_run.history[-1]
    assert digits_run.metrics["train_seconds"] == pytest.approx(float(last["train_seconds"]))
    assert digits_run.metrics["images_per_second"] > 0


def test_all_json_is_strict_json(digits_run):
    def refuse(constant):
        raise ValueError(constant)

    for file in digits_run.folder.glob("*.json"):
        json.loads(file.read_text(), parse_constant=refuse)  # no NaN, no Infinity


def test_tensorboard_holds_the_scalars_of_the_history(digits_run):
    for part, column in (("train", "accuracy"), ("validation", "val_accuracy")):
        accumulator = EventAccumulator(str(digits_run.folder / "tensorboard" / part))
        accumulator.Reload()
        events = accumulator.Tensors("epoch_accuracy")
        found = {e.step + 1: float(tf.make_ndarray(e.tensor_proto)) for e in events}
        expected = {int(r["epoch"]): float(r[column]) for r in digits_run.history if r[column]}
        assert found == pytest.approx(expected, abs=1e-6)


# Figures


def test_the_figures_agree_with_scikit_learn_on_the_saved_models_predictions(
    digits_run, predictions
):
    labels, logits, classes = predictions
    figures = digits_run.metrics
    recall = recall_score(labels, classes, average=None)
    np.testing.assert_array_equal(logits.argmax(axis=1), classes)
    assert figures["accuracy"] == pytest.approx((labels == classes).mean())
    assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, classes))
    assert figures["per_class_accuracy"] == pytest.approx(recall.tolist())
    assert figures["confusion_matrix"] == confusion_matrix(labels, classes).tolist()
    assert figures["many_accuracy"] == pytest.approx(recall[0])
    assert figures["medium_accuracy"] == pytest.approx(recall[1:5].mean())
    assert figures["few_accuracy"] == pytest.approx(recall[5:].mean())


def test_the_loss_is_the_class_balanced_one_without_the_penalty(digits_run, predictions):
    labels, logits, _ = predictions
    z = logits.astype("float64")
    crossentropy = np.log(np.exp(z).sum(axis=1)) - z[np.arange(labels.size), labels]
    weights = np.array(digits_run.config["class_weights"])
    expected = (weights[labels] * crossentropy).mean()
    assert digits_run.metrics["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_the_figures_are_the_last_epochs_and_not_the_best_ones(tmp_path, train_short):
    # The rate grows 20-fold after 6 of 8 epochs, which undoes what was learnt.
    run = train_short(tmp_path / "run", "--train_epochs=8", "--lr_boundaries=0.75", "--lr_decay=20")
    accuracies = run.column("val_accuracy")
    assert max(accuracies) > accuracies[-1] + 0.1
    assert run.metrics["accuracy"] == pytest.approx(accuracies[-1], abs=1e-6)
    assert run.metrics["balanced_accuracy"] == pytest.approx(
        run.column("val_balanced_accuracy")[-1], abs=1e-6
    )


@pytest.mark.slow
def test_the_same_flags_on_the_same_machine_give_the_same_run_to_the_last_bit(
    tmp_path, train_short, short_run
):
    again = train_short(tmp_path / "run")
    assert again.column("loss") == short_run.column("loss")
    assert again.column("val_loss") == short_run.column("val_loss")
    for value, expected in zip(again.variables, short_run.variables, strict=True):
        np.testing.assert_array_equal(value, expected)
    for name in set(again.metrics) - {"train_seconds", "images_per_second"}:
        assert again.metrics[name] == short_run.metrics[name]


# What goes wrong


def test_a_run_that_diverges_says_so_and_still_has_its_history(tmp_path, train_tiny):
    with pytest.raises(UserError, match=r"learning_rate"):
        train_tiny(tmp_path / "run", "--learning_rate=1e30")
    with open(tmp_path / "run" / "history.csv") as file:
        assert len(list(csv.DictReader(file))) >= 1


def test_absent_data_is_told_before_anything_is_trained_and_leaves_no_folder(tmp_path, train_tiny):
    with pytest.raises(UserError, match="no prepared cifar10"):
        train_tiny(tmp_path / "run", "--dataset=cifar10", f"--data_dir={tmp_path}")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()  # what the run did not make stays
    with pytest.raises(UserError, match="no prepared cifar10"):
        train_tiny(tmp_path / "mine" / "a" / "b", "--dataset=cifar10", f"--data_dir={tmp_path}")
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("max_epochs", "ended after epoch 1 of --train_epochs=2 with 6 steps of 12"),
        ("max_steps_per_epoch", "ended after epoch 2 of --train_epochs=2 with 2 steps of 12"),
    ],
)
def test_a_training_that_is_cut_short_exports_nothing(
    tmp_path, train_tiny, monkeypatch, limit, words
):
    monkeypatch.setattr(machine, "keras_problems", lambda: [])  # which refuses it at the start
    set_limit = getattr(keras.config, f"set_{limit}")
    set_limit(1)
    try:
        with pytest.raises(UserError, match=words):
            train_tiny(tmp_path / "run")
    finally:
        set_limit(None)
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert not left & {"metrics.json", "model.keras", "saved_model"}


def test_the_summary_names_the_folder_and_every_class(tmp_path, train_tiny, capsys):
    train_tiny(tmp_path / "run", "--train_epochs=1", "--warmup_epochs=0")
    printed = capsys.readouterr().out
    assert "digits: 342 training images of 10 classes (124 to 2 a class), 500 test" in printed
    assert "342 of 1297 training images kept; --long_tail=natural keeps all" in printed
    assert "epoch 1/1" in printed
    for c, count in enumerate(COUNTS):
        assert any(line.split()[:2] == [str(c), str(count)] for line in printed.splitlines())
    assert "\n1 epoch, " in printed
    assert f"everything is in {tmp_path / 'run'}" in printed


@pytest.mark.slow
def test_a_picture_that_can_not_be_drawn_is_a_line_and_no_failed_run(
    tmp_path, train_tiny, call_train, monkeypatch, capsys
):
    def fail(*_):
        raise RuntimeError("no ink\nin it")

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setitem(of_run._PICTURES, "curves", (fail, lambda one: True))
        train_tiny(folder, "--train_epochs=1", "--warmup_epochs=0", "--plots=true")
    printed = capsys.readouterr()
    assert printed.err.splitlines()[-1] == (
        f"warning: curves.png in {folder / 'plots'} can't be drawn (RuntimeError: no ink in it); "
        "the run is finished and saved, and the same command with --resume draws the pictures "
        "that are missing."
    )
    assert f"everything is in {folder}" in printed.out
    drawn = {path.name: path.stat().st_mtime_ns for path in (folder / "plots").iterdir()}
    assert "curves.png" not in drawn
    arguments = (*SHORT, "--train_epochs=1", "--warmup_epochs=0", "--plots=true", "--resume")
    call_train(*arguments, f"--output_dir={folder}")  # the remedy
    now = {path.name: path.stat().st_mtime_ns for path in (folder / "plots").iterdir()}
    assert now.pop("curves.png")
    assert now == drawn


def test_data_of_ones_own_are_trained_on_as_they_are(tmp_path, train_tiny, write_tfds, capsys):
    write_tfds(tmp_path, "tiny", {"train": slice(0, 120), "test": slice(700, 730)})
    own = ("--dataset=tfds:tiny", f"--data_dir={tmp_path}", "--train_epochs=1", "--warmup_epochs=0")
    run = train_tiny(tmp_path / "run", *own)
    counts = np.bincount(datasets.load("tfds:tiny", tmp_path).train.labels)
    assert run.config["class_counts"] == counts.tolist()
    assert run.config["flags"]["long_tail"] == "natural"
    assert "tfds:tiny:1.0.0: 120 training images of 10 classes" in capsys.readouterr().out
    assert np.sum(run.metrics["confusion_matrix"]) == 30  # its own test images


def test_saved_models_of_a_run_are_scored_as_in_its_metrics(digits_run):
    test, folder = datasets.load("digits").test, digits_run.folder / "saved_model"
    figures = evaluation.evaluate(folder, saved_model.description(folder), test, 7)
    assert figures["confusion_matrix"] == digits_run.metrics["confusion_matrix"]
