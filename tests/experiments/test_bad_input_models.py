"""Models that are damaged, others', or full of NaN; and `.keras` files with code in them."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import cb_keras
from experiments import evaluate
from experiments.exports import saved_model
from tests.experiments.cases import ABOUT, run_program


@pytest.fixture
def copied(short_run, tmp_path):
    """A SavedModel that a test may damage."""
    return shutil.copytree(short_run.folder / "saved_model", tmp_path / "saved_model")


@pytest.fixture
def refusal(capsys, tmp_path):
    """Function of a model: the one line with which the evaluation refuses it, and writes nothing.

    A SavedModel is otherwise evaluated on the digits.
    """

    def run(folder):
        status, line = run_program(
            capsys,
            evaluate.main,
            *(f"--saved_model={folder}", "--dataset=digits", f"--output={tmp_path / 'f.json'}"),
        )
        assert status == 2
        assert not (tmp_path / "f.json").exists()
        return line

    return run


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


DAMAGES = {
    "an empty graph": lambda m: (m / "saved_model.pb").write_bytes(b""),
    "half a graph": lambda m: halve(m / "saved_model.pb"),
    "text for a graph": lambda m: (m / "saved_model.pb").write_text("hello"),
    "no weights": lambda m: shutil.rmtree(m / "variables"),
    "half the weights": lambda m: halve(next(m.glob("variables/*.data*"))),
    "weights with a flipped bit": lambda m: flip(next(m.glob("variables/*.data*"))),
    "a damaged index": lambda m: flip(m / "variables" / "variables.index"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_saved_model_is_told_with_the_folder_and_the_remedy(copied, refusal, damage):
    DAMAGES[damage](copied)
    line = refusal(copied)
    assert f"--saved_model={copied} can't be loaded" in line
    assert "delete metrics.json of its run and continue that with --resume" in line


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A SavedModel that another program wrote. Read only."""

    class Half(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 3])])
        def __call__(self, x):
            return x / 2

    folder = tmp_path_factory.mktemp("foreign") / "m"
    module = Half()
    tf.saved_model.save(module, str(folder), signatures=module.__call__.get_concrete_function())
    return folder


def test_a_saved_model_of_another_program_is_refused(foreign, refusal):
    assert "was not exported by experiments.train" in refusal(foreign)


def test_a_saved_model_of_another_program_with_our_note_is_refused(foreign, refusal, tmp_path):
    folder = shutil.copytree(foreign, tmp_path / "m")
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "cb_keras.json").write_text(json.dumps(ABOUT))
    # The digits are none of its three classes; with theirs it is the signature that differs.
    assert "images of classes that the model does not have: '0', '1'" in refusal(folder)
    about = {**ABOUT, "class_counts": [5] * 10, "class_names": list("0123456789")}
    (folder / "assets.extra" / "cb_keras.json").write_text(json.dumps(about))
    line = refusal(folder)
    assert "has another signature than the models of experiments.train" in line
    assert "`images` to `logits` and `classes`" in line


@pytest.mark.parametrize(
    ("note", "words"),
    [
        ([], "no 'settings' in it"),
        ("text", "no 'settings' in it"),
        ({}, "no 'settings' in it"),
        ({**ABOUT, "class_counts": 7}, "no 'class_counts' in it"),
        ({key: ABOUT[key] for key in ABOUT if key != "epochs"}, "no 'epochs' in it"),
    ],
)
def test_a_note_with_something_else_in_it_is_refused(copied, refusal, note, words):
    (copied / "assets.extra" / "cb_keras.json").write_text(json.dumps(note))
    line = refusal(copied)
    assert "was not exported by experiments.train" in line
    assert words in line


def test_a_model_with_nan_in_its_weights_is_refused_with_the_number_of_images(tmp_path, refusal):
    model = cb_keras.resnet_cifar(8, (8, 8, 1), 10)
    weights = model.get_weights()
    weights[-1][4] = np.nan  # the last bias
    model.set_weights(weights)
    about = {**ABOUT, "class_counts": [5] * 10, "class_names": list("0123456789")}
    saved_model.export(model, tmp_path / "m", about)
    line = refusal(tmp_path / "m")
    assert "logits that are not finite for 500 of 500 images, image 0 the first" in line
    assert "a lower --learning_rate" in line


def test_a_keras_file_with_a_lambda_is_refused_and_its_code_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trace = tmp_path / "trace"
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(2),
            keras.layers.Lambda(lambda x: (__import__("pathlib").Path("trace").touch(), x)[1]),
        ]
    )
    model.compile("sgd", cb_keras.losses.ClassBalancedSoftmaxCrossentropy([5, 2]))
    model.save("model.keras")
    trace.unlink()  # left when the model was made
    with pytest.raises(ValueError, match=r"(?s)[Ll]ambda.*unsafe|unsafe.*[Ll]ambda"):
        keras.models.load_model("model.keras")
    assert not trace.exists()
    keras.models.load_model("model.keras", safe_mode=False)
    assert trace.exists()  # the file does hold code


def test_a_keras_file_of_ours_is_loaded_in_safe_mode(short_run):
    model = keras.models.load_model(short_run.folder / "model.keras", safe_mode=True)
    assert isinstance(model.loss, cb_keras.losses.ClassBalancedFocalCrossentropy)


def test_a_model_file_that_holds_code_or_nothing_is_refused_by_evaluate(
    capsys, short_run, tmp_path
):
    shutil.copytree(short_run.folder, tmp_path / "run")
    file = tmp_path / "run" / "model.keras"
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Lambda(lambda x: x)]).save(file)
    for content in (file.read_bytes(), b""):
        file.write_bytes(content)
        status, line = run_program(capsys, evaluate.main, f"--saved_model={file}")
        assert status == 2
        assert line.startswith(f"error: --saved_model={file} can't be loaded (")
    (tmp_path / "run" / "metrics.json").unlink()
    _, line = run_program(capsys, evaluate.main, f"--saved_model={file}")
    assert line.startswith(
        f"error: --saved_model={file} is read together with the files of its run"
    )
    assert "(no metrics.json). Give it in its run directory, or the SavedModel next to it" in line
    file.unlink()
    _, line = run_program(capsys, evaluate.main, f"--saved_model={file}")
    assert line == f"error: --saved_model={file} is not there; give model.keras of a run directory."
