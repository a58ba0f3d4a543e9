"""The SavedModel: what it takes, what it gives, and what it is refused for."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, softmax

import cb_keras
from experiments import datasets
from experiments.cli import UserError
from experiments.datasets import Split
from experiments.exports import saved_model


def about(loss="softmax", classes=3):
    settings = {"loss": loss, "cb_beta": 0.9999, "cb_power": 1.0, "gamma": 1.0}
    rates = {"epochs": 1, "train_seconds": 1.0, "images_per_second": None}
    names = [str(c) for c in range(classes)]
    counts = [5] * classes
    data = {"dataset": "digits", "class_counts": counts, "class_names": names}
    return {"settings": settings, **data, **rates}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return cb_keras.resnet_cifar(8, (8, 8, 1), 3)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, model):
    """Folder of a SavedModel of `model`. Read only."""
    folder = tmp_path_factory.mktemp("exported") / "m"
    saved_model.export(model, folder, about())
    return folder


def serving(folder):
    return tf.saved_model.load(str(folder)).signatures["serving_default"]


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (7, 8, 8, 1), "uint8")


def test_it_takes_raw_uint8_of_any_batch_size_by_the_name_images(digits_run):
    serve = serving(digits_run.folder / "saved_model")
    _, inputs = serve.structured_input_signature
    assert inputs == {"images": tf.TensorSpec([None, 8, 8, 1], tf.uint8, name="images")}
    shapes = {name: spec.shape.as_list() for name, spec in serve.structured_outputs.items()}
    assert shapes == {"logits": [None, 10], "probabilities": [None, 10], "classes": [None]}


@pytest.mark.parametrize(
    ("loss", "expected"), [("softmax", lambda z: softmax(z, axis=-1)), ("focal", expit)]
)
def test_probabilities_are_those_of_the_loss_and_classes_the_largest(
    tmp_path, model, images, loss, expected
):
    saved_model.export(model, tmp_path / "m", about(loss))
    serve = serving(tmp_path / "m")
    outputs = {name: value.numpy() for name, value in serve(images=tf.constant(images)).items()}
    logits = keras.ops.convert_to_numpy(model(images.astype("float32"), training=False))
    np.testing.assert_allclose(outputs["logits"], logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs["probabilities"], expected(logits), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(outputs["classes"], logits.argmax(axis=-1))


def test_it_does_not_learn_from_what_it_is_shown(exported, images):
    serve = serving(exported)
    whole = serve(images=tf.constant(images))["logits"].numpy()
    single = np.concatenate([serve(images=tf.constant(i[None]))["logits"] for i in images])
    np.testing.assert_allclose(single, whole, rtol=1e-4, atol=1e-5)  # no batch statistics


OTHER_SHAPES = {
    "another size": (2, 16, 16, 1),
    "the channel first": (2, 1, 8, 8),
    "three channels": (2, 8, 8, 3),
    "no batch dimension": (8, 8, 1),
    "no channel dimension": (2, 8, 8),
    "none, of another size": (0, 16, 16, 1),
}
# TensorFlow alone; a kernel that aborts takes the process with it.
SERVING = """
import json, sys
import numpy as np
import tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
for name, shape in json.loads(sys.argv[2]).items():
    try:
        serve(images=tf.zeros(shape, tf.uint8))
        print(name, "was answered", flush=True)
    except tf.errors.InvalidArgumentError as error:
        assert f"images {shape} is not compatible".replace(" ", "") in str(error).replace(" ", "")
outputs = serve(images=tf.zeros([0, 8, 8, 1], tf.uint8))
shapes = {name: (value.shape, value.dtype.name) for name, value in outputs.items()}
assert shapes == {
    "logits": ((0, 3), "float32"), "probabilities": ((0, 3), "float32"), "classes": ((0,), "int64")
}, shapes
assert not {"cb_keras", "experiments"} & set(sys.modules)
print("done")
"""


def test_images_of_another_shape_are_refused_by_the_signature_and_none_get_no_answers(
    exported, run_python
):
    done = run_python("-c", SERVING, exported, json.dumps(OTHER_SHAPES))
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-2000:]


def test_predict_is_the_same_in_batches_of_any_size(exported, images):
    serve = serving(exported)
    logits, classes = saved_model.predict(serve, images, 100)
    assert (logits.shape, classes.shape) == ((7, 3), (7,))
    in_threes, _ = saved_model.predict(serve, images, 3)
    np.testing.assert_allclose(in_threes, logits, rtol=1e-4, atol=1e-5)


def test_the_description_comes_back(exported):
    assert saved_model.description(exported) == about()


def test_a_new_export_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path, model, exported):
    shutil.copytree(exported, tmp_path / "m")
    (tmp_path / "m.tmp").mkdir()  # of an export that was interrupted
    (tmp_path / "m.tmp" / "rubbish").write_text("")
    saved_model.export(model, tmp_path / "m", {**about(), "epochs": 2})
    assert saved_model.description(tmp_path / "m")["epochs"] == 2
    assert not list(tmp_path.rglob("rubbish"))
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_an_export_that_fails_leaves_the_old_one(tmp_path, model, exported):
    shutil.copytree(exported, tmp_path / "m")
    with pytest.raises(TypeError):
        saved_model.export(model, tmp_path / "m", {**about(), "epochs": object()})
    assert saved_model.description(tmp_path / "m") == about()
    tf.saved_model.load(str(tmp_path / "m"))


def test_a_folder_without_a_saved_model_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="holds no SavedModel"):
            saved_model.description(folder)


@pytest.mark.parametrize("content", [None, "", "{"])
def test_a_saved_model_of_others_is_refused(tmp_path, digits_run, content):
    folder = tmp_path / "m"
    shutil.copytree(digits_run.folder / "saved_model", folder)
    note = folder / "assets.extra" / "cb_keras.json"
    note.unlink()
    if content is not None:
        note.write_text(content)
    with pytest.raises(UserError, match=r"was not exported by experiments\.train"):
        saved_model.description(folder)


def test_images_of_another_size_are_refused_with_both_sizes(digits_run):
    split = Split(np.zeros((4, 32, 32, 3), "uint8"), np.zeros(4, "int32"))
    with pytest.raises(UserError, match=r"\(32, 32, 3\).*8, 8, 1"):
        saved_model.evaluate(digits_run.folder / "saved_model", split, 100)


def test_labels_that_the_model_does_not_know_are_refused(digits_run):
    split = Split(np.zeros((4, 8, 8, 1), "uint8"), np.array([0, 1, 2, 57], "int32"))
    with pytest.raises(UserError, match=r"class 57, the model .* has 10 classes"):
        saved_model.evaluate(digits_run.folder / "saved_model", split, 100)


def test_the_description_says_what_the_run_was(digits_run):
    note = digits_run.folder / "saved_model" / "assets.extra" / "cb_keras.json"
    described, config = json.loads(note.read_text()), digits_run.config
    for name in ("loss", "cb_beta", "cb_power", "gamma"):
        assert described["settings"][name] == config["flags"][name]
    assert described["dataset"] == "digits"
    assert described["class_counts"] == config["class_counts"]


def test_model_keras_and_the_saved_model_predict_the_same(digits_run):
    images = datasets.load("digits").test.images
    serve = serving(digits_run.folder / "saved_model")
    logits, _ = saved_model.predict(serve, images, 100)
    loaded = keras.models.load_model(digits_run.folder / "model.keras")
    again = loaded.predict(images.astype("float32"), batch_size=100, verbose=0)
    np.testing.assert_allclose(again, logits, rtol=1e-4, atol=1e-5)
    assert isinstance(loaded.loss, cb_keras.losses.ClassBalancedSoftmaxCrossentropy)
    assert loaded.loss.class_counts == digits_run.config["class_counts"]
