"""Data sets that are damaged or no use, and those that are odd but well defined."""

import json

import keras
import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf

import cb_keras
from experiments import datasets, evaluate, train
from experiments.datasets import Split, pipeline
from tests.cb_keras import reference
from tests.experiments.cases import SHORT, run_program

SPLITS = {"train": slice(0, 20), "test": slice(20, 31)}


# Damaged or no use


def flip(content, position):
    return content[:position] + bytes([content[position] ^ 255]) + content[position + 1 :]


DAMAGES = {
    "a record with a flipped bit": ("*train.tfrecord*", lambda c: flip(c, 100)),
    "half a file": ("*train.tfrecord*", lambda c: c[: len(c) // 2]),
    "text for records": ("*train.tfrecord*", lambda c: b"hello " * 500),
    "a damaged test split": ("*test.tfrecord*", lambda c: flip(c, 100)),
    "damaged information": ("dataset_info.json", lambda c: c[:-20]),
    "empty information": ("dataset_info.json", lambda c: b""),
    "damaged features": ("features.json", lambda c: c[:-20]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_data_are_told_with_the_folder_and_the_remedy(damage, tmp_path, write_tfds, capsys):
    folder = write_tfds(tmp_path / "data", "tiny", SPLITS)
    pattern, change = DAMAGES[damage]
    (file,) = folder.glob(pattern)
    file.write_bytes(change(file.read_bytes()))
    run = tmp_path / "run"
    line = refusal(capsys, tmp_path, run)
    assert str(folder) in line
    assert "prepare them again" in line
    assert not run.exists()


def refusal(capsys, folder, run):
    """The one line with which the trainer refuses `tiny` in `folder`."""
    arguments = (*SHORT, "--dataset=tfds:tiny", f"--data_dir={folder / 'data'}")
    status, line = run_program(capsys, train.main, *arguments, f"--output_dir={run}")
    assert status == 2
    return line


@pytest.mark.parametrize("file", ["tiny-train.tfrecord-00000", "features.json"])
def test_a_missing_file_is_told_with_the_folder_and_the_remedy(tmp_path, write_tfds, capsys, file):
    folder = write_tfds(tmp_path / "data", "tiny", SPLITS)
    (folder / file).unlink()
    line = refusal(capsys, tmp_path, tmp_path / "run")
    assert str(folder) in line
    assert "prepare them again" in line


def changed_features(folder, old, new):
    """Lets features.json say something else of the same records."""
    file = folder / "features.json"
    assert file.read_text().count(old) == 1
    file.write_text(file.read_text().replace(old, new))


def test_float_images_are_refused_with_their_dtype(tmp_path, write_tfds, capsys):
    # So NaN never comes from a tfds data set: the trainer takes uint8 alone.
    folder = write_tfds(tmp_path / "data", "tiny", SPLITS)
    changed_features(folder, '"dtype": "uint8"', '"dtype": "float32"')
    line = refusal(capsys, tmp_path, tmp_path / "run")
    assert "dtype float32; images of one size, uint8, are needed" in line


def test_labels_out_of_range_are_refused_with_the_first_and_the_range(
    tmp_path, write_tfds, capsys, real_digits
):
    folder = write_tfds(tmp_path / "data", "tiny", SPLITS)
    changed_features(folder, '"numClasses": "10"', '"numClasses": "5"')
    line = refusal(capsys, tmp_path, tmp_path / "run")
    labels = real_digits[1][:20]
    first = int(np.flatnonzero(labels >= 5)[0])
    assert f"labels must be in [0, 5), but {(labels >= 5).sum()} of the 20 in split train" in line
    assert f"(example {first} has {labels[first]})" in line
    assert "prepare the data set again" in line


def test_labels_of_another_dtype_are_refused_with_the_features_there_are(
    tmp_path, write_tfds, capsys
):
    folder = write_tfds(tmp_path / "data", "tiny", SPLITS)
    text = json.loads((folder / "features.json").read_text())
    label = text["featuresDict"]["features"]["label"]
    label.clear()
    label.update(
        tensor={"dtype": "float32", "shape": {}, "encoding": "none"},
        pythonClassName="tensorflow_datasets.core.features.tensor_feature.Tensor",
    )
    (folder / "features.json").write_text(json.dumps(text))
    line = refusal(capsys, tmp_path, tmp_path / "run")
    assert "is not an image classification data set" in line
    assert "`image` and `label` are needed" in line


def test_a_data_set_with_one_class_is_refused_by_its_name(tmp_path, write_tfds, capsys):
    folder = write_tfds(tmp_path / "data", "tiny", SPLITS)
    changed_features(folder, '"numClasses": "10"', '"numClasses": "1"')
    line = refusal(capsys, tmp_path, tmp_path / "run")
    assert f"{folder} has 1 class (0), a classifier needs two at least; use another" in line


def test_a_data_set_whose_examples_are_all_of_one_class_is_refused(
    tmp_path, write_tfds, capsys, real_digits
):
    zeros = np.flatnonzero(real_digits[1] == 0)[:30]
    write_tfds(tmp_path / "data", "tiny", {"train": zeros[:20], "test": zeros[20:]})
    line = refusal(capsys, tmp_path, tmp_path / "run")
    assert "class 1 has no training examples" in line
    assert "prepare the data set with some, or without the class" in line


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_without_examples_is_refused_by_name(tmp_path, write_tfds, capsys, split):
    write_tfds(tmp_path / "data", "tiny", {**SPLITS, split: slice(0, 0)})
    assert f"split {split} has no examples" in refusal(capsys, tmp_path, tmp_path / "run")


# Odd but well defined


@pytest.fixture(scope="module")
def linear():
    """A linear classifier of digits that training at a rate of 0 leaves as it is, and its logits.

    The logits are float64 numpy's, from the same weights.
    """
    data = datasets.load("digits").train
    split = Split(data.images[:11], data.labels[:11])
    weights = np.random.default_rng(0).normal(0, 0.01, (64, 10))
    counts = [9, 8, 7, 6, 5, 4, 3, 2, 1, 1]
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(10, use_bias=False),
        ]
    )
    network.set_weights([weights])
    network.compile(
        keras.optimizers.SGD(0.0),
        cb_keras.losses.ClassBalancedFocalCrossentropy(counts, gamma=2.0),
        metrics=[
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
            cb_keras.metrics.BalancedAccuracy(10),
        ],
    )
    logits = split.images.reshape(11, 64).astype("float64") @ weights.astype("float32")
    number = (1 - 0.9999 ** np.array(counts, "float64")) / (1 - 0.9999)  # Cui et al. 2019, eq. 2
    class_weights = 10 / number / (1 / number).sum()
    losses = reference.loss(
        "focal",
        logits,
        reference.one_hot(split.labels, 10),
        class_weights[split.labels],
        gamma=2.0,
    )
    expected = {
        "loss": losses.mean(),
        "accuracy": (logits.argmax(1) == split.labels).mean(),
        "balanced_accuracy": sklearn.metrics.recall_score(
            split.labels, logits.argmax(1), average=None, labels=np.unique(split.labels)
        ).mean(),
    }
    return network, split, expected


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [4, 10, 11, 5000])
def test_a_partial_last_batch_counts_by_its_examples_in_training_and_evaluation(linear, batch_size):
    # 11 images: batches of 4, 4 and 3; of 10 and 1; and one batch larger than the data.
    network, split, expected = linear
    history = network.fit(
        pipeline.training_dataset(split, batch_size, 0, 0, 1, "none"),
        steps_per_epoch=pipeline.steps_per_epoch(11, batch_size),
        validation_data=pipeline.evaluation_dataset(split, batch_size),
        shuffle=False,
        verbose=0,
    ).history
    for name, value in expected.items():
        assert history[name] == pytest.approx([value], rel=1e-5)
        assert history[f"val_{name}"] == pytest.approx([value], rel=1e-5)


def test_a_batch_larger_than_the_data_is_one_step_of_all_of_it(linear):
    _, split, _ = linear
    assert pipeline.steps_per_epoch(11, 5000) == 1
    large, exact = (
        list(pipeline.training_dataset(split, size, 0, 0, 2, "crop").as_numpy_iterator())
        for size in (5000, 11)
    )
    assert [len(labels) for _, labels in large] == [11, 11]
    for of_large, of_exact in zip(large, exact, strict=True):
        for value, expected in zip(of_large, of_exact, strict=True):
            np.testing.assert_array_equal(value, expected)


def test_classes_without_test_images_are_null_and_count_in_no_mean(
    short_run, call_evaluate, write_tfds, tmp_path, real_digits
):
    images, labels = real_digits
    chosen = np.flatnonzero((labels != 3) & (labels != 8))[:38]  # a last batch of 3, too
    write_tfds(tmp_path, "tiny", {"train": slice(0, 20), "test": chosen})
    output = tmp_path / "figures.json"
    saved = short_run.folder / "saved_model"
    call_evaluate(
        *(f"--saved_model={saved}", "--dataset=tfds:tiny", f"--data_dir={tmp_path}"),
        *("--eval_batch_size=7", f"--output={output}", "--training_images=keep"),
    )
    figures = json.loads(output.read_text())

    y = labels[chosen]
    serve = tf.saved_model.load(str(saved)).signatures["serving_default"]
    logits = serve(images=tf.constant(images[chosen]))["logits"].numpy().astype("float64")
    classes = logits.argmax(axis=1)
    present = [0, 1, 2, 4, 5, 6, 7, 9]
    recall = sklearn.metrics.recall_score(y, classes, labels=present, average=None)
    assert figures["per_class_accuracy"][3] is None
    assert figures["per_class_accuracy"][8] is None
    assert [figures["per_class_accuracy"][c] for c in present] == pytest.approx(recall.tolist())
    assert figures["balanced_accuracy"] == pytest.approx(recall.mean())
    assert figures["accuracy"] == pytest.approx((classes == y).mean())
    assert sum(map(sum, figures["confusion_matrix"])) == 38  # every image once
    groups = short_run.config["shot_groups"]
    medium = [c for c in groups["medium"] if c in present]
    assert figures["medium_accuracy"] == pytest.approx(
        np.mean([recall[present.index(c)] for c in medium])
    )
    weights = np.array(short_run.config["class_weights"])
    losses = reference.loss("focal", logits, reference.one_hot(y, 10), weights[y])
    assert figures["loss"] == pytest.approx(losses.mean(), rel=1e-5)


def test_data_that_can_not_be_evaluated_leave_the_old_figures(
    short_run, tmp_path, write_tfds, capsys
):
    folder = write_tfds(tmp_path / "data", "tiny", SPLITS)
    (file,) = folder.glob("*test.tfrecord*")
    file.write_bytes(flip(file.read_bytes(), 100))
    output = tmp_path / "figures.json"
    output.write_text("old")
    status, line = run_program(
        capsys,
        evaluate.main,
        *(f"--saved_model={short_run.folder / 'saved_model'}", f"--output={output}"),
        *("--dataset=tfds:tiny", f"--data_dir={tmp_path / 'data'}"),
    )
    assert status == 2
    assert "prepare them again" in line
    assert output.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "figures.json"]
