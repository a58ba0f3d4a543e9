"""experiments.evaluate: the figures of the run, from its SavedModel alone."""

import json
import shutil

import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf
from scipy.special import softmax

from experiments import datasets
from experiments.cli import UserError
from experiments.runs import figures

VERSION_1 = "tfds:tiny:1.0.0"


def test_evaluating_gives_the_figures_of_the_run(digits_run, call_evaluate, tmp_path, capsys):
    output = tmp_path / "figures.json"
    call_evaluate(
        *(f"--saved_model={digits_run.folder / 'saved_model'}", "--dataset=digits"),
        f"--output={output}",
    )
    found = json.loads(output.read_text())
    of_run = digits_run.config["data"]
    about = {"name": "digits", **of_run["test"], "training_images": 0, "left_out": 0}
    assert found.pop("test_data") == about
    assert found == digits_run.metrics
    printed = capsys.readouterr().out
    assert str(output) in printed
    for c, count in enumerate(digits_run.config["class_counts"]):
        keys = [f"per_class_{name}" for name in ("accuracy", "precision", "f1", "auc")]
        of_class = [figures.accuracy(digits_run.metrics[key][c]) for key in keys]
        weight = digits_run.config["class_weights"][c]
        row = [str(c), str(count), f"{weight:.4f}", *of_class, "50"]
        assert row in [line.split() for line in printed.splitlines()]


def test_the_model_of_a_run_gives_the_figures_of_its_saved_model(
    digits_run, call_evaluate, tmp_path
):
    output = tmp_path / "figures.json"
    call_evaluate(f"--saved_model={digits_run.folder / 'model.keras'}", f"--output={output}")
    found = json.loads(output.read_text())
    for name in ("loss", "nll", "ece", "auc"):  # whose last bits depend on the compiler
        assert found.pop(name) == pytest.approx(digits_run.metrics[name], rel=1e-5)
    exact = ("confusion_matrix", "per_class_f1", "macro_f1", "epochs", "train_seconds")
    assert {n: found[n] for n in exact} == {n: digits_run.metrics[n] for n in exact}


def test_the_loss_and_the_table_have_the_class_weights_that_the_run_recorded(
    digits_run, call_evaluate, tmp_path, capsys
):
    """As a schedule may have left them, which beta and power do not give."""
    folder, output = tmp_path / "m", tmp_path / "metrics.json"
    shutil.copytree(digits_run.folder / "saved_model", folder)
    note = folder / "assets.extra" / "cb_keras.json"
    description = json.loads(note.read_text())
    doubled = [2 * weight for weight in description["class_weights"]]
    note.write_text(json.dumps({**description, "class_weights": doubled}))
    call_evaluate(f"--saved_model={folder}", f"--output={output}")
    metrics = json.loads(output.read_text())
    assert metrics["loss"] == pytest.approx(2 * digits_run.metrics["loss"], rel=1e-6)
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[2] for row in table[1:11]] == [f"{weight:.4f}" for weight in doubled]


def test_the_figures_are_those_of_scikit_learn_on_the_predictions_that_are_written(
    digits_run, call_evaluate, tmp_path
):
    file, saved = tmp_path / "predictions.npz", digits_run.folder / "saved_model"
    call_evaluate(f"--saved_model={saved}", f"--predictions={file}")
    with np.load(file) as found:
        labels, classes, probabilities = (found[n] for n in ("labels", "classes", "probabilities"))
        assert found["class_names"].tolist() == digits_run.config["class_names"]
        assert found["indices"].tolist() == list(range(500))
        np.testing.assert_allclose(softmax(found["logits"], axis=1), probabilities, atol=1e-6)
    metrics, skm = digits_run.metrics, sklearn.metrics
    precision, _, f1, support = skm.precision_recall_fscore_support(labels, classes)
    never = np.bincount(classes, minlength=10) == 0
    expected = {
        "per_class_precision": np.where(never, None, precision).tolist(),
        "per_class_f1": f1.tolist(),
        "support": support.tolist(),
        "macro_f1": skm.f1_score(labels, classes, average="macro"),
        "auc": skm.roc_auc_score(labels, probabilities, multi_class="ovr"),
        "nll": skm.log_loss(labels, probabilities),
        "accuracy": skm.accuracy_score(labels, classes),
        "probabilities": "softmax",
    }
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(value, abs=1e-6), name
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "few_accuracy"):
        low, high = metrics["intervals"][name]
        assert low < metrics[name] < high
    bins = metrics["reliability"]
    gaps = [
        n * abs(a - c)
        for n, c, a in zip(bins["images"], bins["confidence"], bins["accuracy"], strict=True)
        if n
    ]
    assert sum(gaps) / 500 == pytest.approx(metrics["ece"])


def test_probabilities_of_a_sigmoid_head_are_over_their_sum_unless_they_are_asked_for_raw(
    short_run, call_evaluate, tmp_path
):
    file, output = tmp_path / "predictions.npz", tmp_path / "metrics.json"
    saved = f"--saved_model={short_run.folder / 'saved_model'}"
    call_evaluate(saved, f"--predictions={file}", f"--output={output}", "--probabilities=raw")
    serve = tf.saved_model.load(str(short_run.folder / "saved_model")).signatures["serving_default"]
    images = datasets.load("digits").test.images
    exported = serve(images=tf.constant(images))["probabilities"].numpy()
    with np.load(file) as found:
        np.testing.assert_allclose(found["probabilities"], exported, atol=1e-6)
        labels, classes = found["labels"], found["classes"]
    raw, usual = json.loads(output.read_text()), short_run.metrics
    assert (raw["probabilities"], usual["probabilities"]) == ("sigmoid", "normalized_sigmoid")
    over_their_sum = exported.astype("float64") / exported.sum(axis=1, keepdims=True)
    assert usual["nll"] == pytest.approx(sklearn.metrics.log_loss(labels, over_their_sum), abs=1e-6)
    assert raw["nll"] is None  # they are no distribution
    assert raw["intervals"]["nll"] is None
    assert raw["ece"] != pytest.approx(usual["ece"], abs=0.01)
    areas = [sklearn.metrics.roc_auc_score(labels == c, exported[:, c]) for c in range(10)]
    assert raw["auc"] == pytest.approx(np.mean(areas), abs=1e-6)
    assert raw["accuracy"] == usual["accuracy"] == (labels == classes).mean()


def test_the_batch_size_does_not_change_the_accuracy(digits_run, call_evaluate, tmp_path):
    output = tmp_path / "figures.json"
    saved = digits_run.folder / "saved_model"
    call_evaluate(f"--saved_model={saved}", "--eval_batch_size=77", f"--output={output}")
    found = json.loads(output.read_text())
    assert found["confusion_matrix"] == digits_run.metrics["confusion_matrix"]


def test_the_data_set_is_the_trained_one_unless_another_is_named(
    digits_run, call_evaluate, monkeypatch
):
    seen, load = [], datasets.load

    def watched(name, *arguments):
        seen.append(name)
        return load(name, *arguments)

    monkeypatch.setattr(datasets, "load", watched)
    saved = f"--saved_model={digits_run.folder / 'saved_model'}"
    call_evaluate(saved)
    with pytest.raises(UserError):
        call_evaluate(saved, "--dataset=cifar100", "--data_dir=nowhere")
    assert seen == ["digits", "cifar100"]


def test_another_data_set_of_the_same_kind_can_be_evaluated(
    digits_run, call_evaluate, write_tfds, tmp_path
):
    write_tfds(tmp_path, "tiny", {"train": slice(0, 20), "test": slice(20, 60)})
    output = tmp_path / "figures.json"
    call_evaluate(
        f"--saved_model={digits_run.folder / 'saved_model'}",
        *("--dataset=tfds:tiny", f"--data_dir={tmp_path}", f"--output={output}"),
        "--training_images=keep",
    )
    confusion = json.loads(output.read_text())["confusion_matrix"]
    assert sum(map(sum, confusion)) == 40


def test_classes_in_another_order_are_found_by_their_names(
    digits_run, call_evaluate, write_tfds, tmp_path, real_digits, capsys
):
    names = list("7340198526")
    write_tfds(tmp_path, "tiny", {"train": slice(0, 20), "test": slice(20, 300)}, names=names)
    output, saved = tmp_path / "figures.json", digits_run.folder / "saved_model"
    call_evaluate(
        *(f"--saved_model={saved}", "--dataset=tfds:tiny", f"--data_dir={tmp_path}"),
        *(f"--output={output}", "--training_images=keep"),
    )
    images, digits = (of_all[20:300] for of_all in real_digits)
    serve = tf.saved_model.load(str(saved)).signatures["serving_default"]
    predicted = serve(images=tf.constant(images))["classes"].numpy()
    metrics = json.loads(output.read_text())
    assert metrics["accuracy"] == pytest.approx((predicted == digits).mean())
    expected = sklearn.metrics.confusion_matrix(digits, predicted, labels=range(10))
    assert metrics["confusion_matrix"] == expected.tolist()
    printed = capsys.readouterr().out
    assert "than the model's: found by name" in printed
    assert "not the data of the training (there): the data set is digits there" in printed


def test_images_of_classes_that_the_model_does_not_have_are_refused_by_their_names(
    digits_run, call_evaluate, write_tfds, tmp_path
):
    splits = {"train": slice(0, 20), "test": slice(20, 60)}
    write_tfds(tmp_path, "tiny", splits, names=[*"01234", "five", *"6789"])
    message = error(
        call_evaluate,
        f"--saved_model={digits_run.folder / 'saved_model'}",
        *("--dataset=tfds:tiny", f"--data_dir={tmp_path}"),
    )
    assert "images of classes that the model does not have: 'five'" in message


def test_unless_another_is_named_the_version_that_was_trained_on_is_read(
    digits_run, call_evaluate, write_tfds, tmp_path
):
    for version, end in (("1.0.0", 60), ("1.1.0", 70)):
        splits = {"train": slice(0, 20), "test": slice(20, end)}
        write_tfds(tmp_path, "tiny", splits, version)
    shutil.copytree(digits_run.folder / "saved_model", tmp_path / "m")
    note = tmp_path / "m" / "assets.extra" / "cb_keras.json"
    about = json.loads(note.read_text())
    note.write_text(json.dumps({**about, "dataset": "tfds:tiny", "data": {"name": VERSION_1}}))
    for arguments, images in (([], 40), (["--dataset=tfds:tiny"], 50)):
        output = tmp_path / "figures.json"
        call_evaluate(
            *(f"--saved_model={tmp_path / 'm'}", f"--data_dir={tmp_path}", f"--output={output}"),
            *(*arguments, "--training_images=keep"),
        )
        assert sum(map(sum, json.loads(output.read_text())["confusion_matrix"])) == images


def error(call_evaluate, *arguments):
    with pytest.raises(UserError) as caught:
        call_evaluate(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_missing_flag_or_folder_is_told(call_evaluate, tmp_path):
    assert "--saved_model is missing" in error(call_evaluate)
    message = error(call_evaluate, f"--saved_model={tmp_path / 'none'}")
    assert "holds no SavedModel" in message
    assert str(tmp_path / "none") in message


def test_the_run_directory_itself_is_refused_with_the_remedy(digits_run, call_evaluate):
    message = error(call_evaluate, f"--saved_model={digits_run.folder}")
    assert "give the saved_model/ folder inside a run directory" in message


def test_a_run_without_a_saved_model_is_refused_with_its_model_keras(call_evaluate, tmp_path):
    """As JAX leaves one: whichever folder is named."""
    (tmp_path / "model.keras").write_bytes(b"")
    for folder in (tmp_path / "saved_model", tmp_path):
        message = error(call_evaluate, f"--saved_model={folder}")
        assert f"the run in {tmp_path} has no SavedModel, which is written on JAX with" in message
        assert f"give --saved_model={tmp_path / 'model.keras'}; or delete metrics.json" in message
    assert "holds no SavedModel" in error(call_evaluate, f"--saved_model={tmp_path / 'a' / 'b'}")


def test_a_saved_model_of_others_is_refused(digits_run, call_evaluate, tmp_path):
    shutil.copytree(digits_run.folder / "saved_model", tmp_path / "m")
    shutil.rmtree(tmp_path / "m" / "assets.extra")
    message = error(call_evaluate, f"--saved_model={tmp_path / 'm'}")
    assert "was not exported by experiments.train" in message


def test_images_of_another_size_are_refused(digits_run, call_evaluate, write_tfds, tmp_path):
    splits = {"train": slice(0, 20), "test": slice(20, 60)}
    write_tfds(tmp_path, "tiny", splits, scale=2)
    message = error(
        call_evaluate,
        f"--saved_model={digits_run.folder / 'saved_model'}",
        *("--dataset=tfds:tiny", f"--data_dir={tmp_path}"),
    )
    assert "images are (16, 16, 1), the model takes (8, 8, 1)" in message
    assert "use the data set it was trained on" in message


def test_a_data_set_that_does_not_exist_is_told_as_by_the_trainer(digits_run, call_evaluate):
    saved = f"--saved_model={digits_run.folder / 'saved_model'}"
    assert "unknown data set 'didgits'" in error(call_evaluate, saved, "--dataset=didgits")


@pytest.mark.parametrize("size", ["0", "-5"])
def test_a_batch_without_images_is_refused(call_evaluate, digits_run, size):
    saved = f"--saved_model={digits_run.folder / 'saved_model'}"
    message = error(call_evaluate, saved, f"--eval_batch_size={size}")
    assert f"--eval_batch_size must be at least 1, got {size}" in message


def test_an_output_that_can_not_be_written_is_found_before_the_evaluation(
    digits_run, call_evaluate, monkeypatch, tmp_path
):
    monkeypatch.setattr(datasets, "load", lambda *_: pytest.fail("data was loaded"))
    saved = f"--saved_model={digits_run.folder / 'saved_model'}"
    missing = tmp_path / "none" / "figures.json"
    message = error(call_evaluate, saved, f"--output={missing}")
    assert (
        f"--output={missing} can't be written ({missing.parent}: No such file or directory)"
        in message
    )
    assert not missing.parent.exists()
    message = error(call_evaluate, saved, f"--output={tmp_path}")
    assert f"--output={tmp_path}" in message  # a folder
    message = error(call_evaluate, saved, f"--predictions={tmp_path}")
    assert f"--predictions={tmp_path} is a folder; name a file." in message
