"""The SavedModel: what it takes, what it gives, and what it is refused for."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy.special import expit, softmax
from sklearn.datasets import load_sample_image

import cb_keras
from experiments import datasets
from experiments.cli import UserError
from experiments.datasets import Split
from experiments.datasets.folder import decode
from experiments.exports import evaluation, saved_model
from tests.experiments.training.cases import tiny_network


def described(loss="softmax", **changes):
    settings = {"loss": loss, "cb_beta": 0.9999, "cb_power": 1.0, "gamma": 1.0}
    rates = {"epochs": 1, "train_seconds": 1.0, "images_per_second": None}
    classes = {"class_counts": [5] * 3, "class_weights": [1.0] * 3, "class_names": ["a", "b", "c"]}
    return {"settings": settings, "dataset": "digits", **classes, **rates, **changes}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return tiny_network(8, (8, 8, 1), 3, "softmax", 0.0, "float32")


@pytest.fixture(scope="module")
def exported(tmp_path_factory, model):
    """Folder of a SavedModel of `model`. Read only."""
    folder = tmp_path_factory.mktemp("exported") / "m"
    saved_model.export(model, folder, described())
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
    saved_model.export(model, tmp_path / "m", described(loss))
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
WITHOUT_KERAS = """
import json, sys

for name in ("keras", "tf_keras", "cb_keras", "experiments"):
    sys.modules[name] = None  # importing it fails
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

model = tf.saved_model.load(sys.argv[1])
serve = model.signatures["serving_default"]
digits = load_digits()
images = np.round(digits.images * 255 / 16).astype("uint8")[..., None]
test = np.concatenate([np.flatnonzero(digits.target == c)[-50:] for c in range(10)])
classes = [serve(images=tf.constant(images[part]))["classes"] for part in np.split(test, 5)]
print("accuracy", (np.concatenate(classes) == digits.target[test]).mean())
for name, shape in json.loads(sys.argv[2]).items():
    try:
        serve(images=tf.zeros(shape, tf.uint8))
        print(name, "was answered", flush=True)
    except tf.errors.InvalidArgumentError as error:
        assert f"images {shape} is not compatible".replace(" ", "") in str(error).replace(" ", "")
outputs = serve(images=tf.zeros([0, 8, 8, 1], tf.uint8))
for name, value in sorted(outputs.items()):
    print(name, value.shape, value.dtype.name)
"""


@pytest.fixture(scope="module")
def without_keras(digits_run, run_python):
    """Lines of a process that has TensorFlow alone: the accuracy, then what no images give."""
    folder = digits_run.folder / "saved_model"
    done = run_python("-c", WITHOUT_KERAS, folder, json.dumps(OTHER_SHAPES))
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_saved_model_needs_tensorflow_alone_and_gives_the_accuracy_of_the_run(
    digits_run, without_keras
):
    assert float(without_keras[0].split()[-1]) == digits_run.metrics["accuracy"]


def test_images_of_another_shape_are_refused_by_the_signature_and_none_get_no_answers(
    without_keras,
):
    assert without_keras[1:] == [
        *("classes (0,) int64", "logits (0, 10) float32", "probabilities (0, 10) float32"),
    ]


def test_predict_is_the_same_in_batches_of_any_size(exported, images):
    serve = serving(exported)
    logits, classes = saved_model.predict(serve, images, 100)
    assert (logits.shape, classes.shape) == ((7, 3), (7,))
    in_threes, _ = saved_model.predict(serve, images, 3)
    np.testing.assert_allclose(in_threes, logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_a_model_of_a_run_that_resizes_sees_the_pixels_of_the_training_to_one_in_255(
    tmp_path, name
):
    photograph = load_sample_image(name)
    inputs = keras.Input((24, 40, 3))
    pixels = keras.Model(inputs, keras.layers.Flatten()(inputs))  # whose logits are what it sees
    saved_model.export(pixels, tmp_path / "m", described(resizes=True))
    serve = serving(tmp_path / "m")
    for image in (photograph, photograph[:24, :40], photograph[::40, ::40], photograph[:5, :300]):
        found = serve(images=tf.constant(image[None]))["logits"].numpy().reshape(24, 40, 3)
        expected = decode.pixels(Image.fromarray(image), (24, 40)).astype(int)
        assert np.abs(found - expected).max() <= (image.shape != (24, 40, 3))
    assert serve(images=tf.zeros([0, 7, 9, 3], tf.uint8))["logits"].shape == (0, 24 * 40 * 3)
    for shape in ([2, 48, 80, 1], [2, 48, 80, 4], [2, 24, 40, 1], [48, 80, 3]):
        words = f"Shape of tensor images {shape} is not compatible with expected shape [?,?,?,3]."
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            serve(images=tf.zeros(shape, tf.uint8))
        assert words.replace(", ", ",") in str(caught.value).replace(", ", ",")


def test_the_description_comes_back(exported):
    assert saved_model.description(exported) == described()


def test_a_new_export_replaces_the_old_one_and_leaves_nothing_next_to_it(tmp_path, model, exported):
    shutil.copytree(exported, tmp_path / "m")
    (tmp_path / "m.tmp").mkdir()  # of an export that was interrupted
    (tmp_path / "m.tmp" / "rubbish").write_text("")
    saved_model.export(model, tmp_path / "m", described(epochs=2))
    assert saved_model.description(tmp_path / "m")["epochs"] == 2
    assert not list(tmp_path.rglob("rubbish"))
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_an_export_that_fails_leaves_the_old_one(tmp_path, model, exported):
    shutil.copytree(exported, tmp_path / "m")
    with pytest.raises(TypeError):
        saved_model.export(model, tmp_path / "m", described(epochs=object()))
    assert saved_model.description(tmp_path / "m") == described()
    tf.saved_model.load(str(tmp_path / "m"))


def test_a_folder_without_a_saved_model_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="holds no SavedModel"):
            saved_model.description(folder)


@pytest.mark.parametrize("content", [None, "", "{"])
def test_a_saved_model_of_others_is_refused(tmp_path, exported, content):
    folder = tmp_path / "m"
    shutil.copytree(exported, folder)
    note = folder / "assets.extra" / "cb_keras.json"
    note.unlink()
    if content is not None:
        note.write_text(content)
    with pytest.raises(UserError, match=r"was not exported by experiments\.train"):
        saved_model.description(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_names": ["a", "b"]}, "its 'class_names' are not one for each of 'class_counts'"),
        *(
            ({"class_weights": weights}, "its 'class_weights' are not a number >= 0 for each")
            for weights in ([1.0, 1.0], None, [1.0, 1.0, "1"], [1.0, 1.0, -1.0], [1.0, 1.0, 1e999])
        ),
        ({"training_images": "?"}, "its 'training_images' are not digests"),
        ({"settings": {}}, "no 'loss' in its 'settings'"),
        ({"settings": {"loss": "hinge"}}, "--loss=hinge does not go with --method=class_balanced"),
        (
            {"settings": {"method": "x", "loss": "focal"}},
            "--method=x is unknown; there are",
        ),
        ({"settings": {"method": [], "loss": "focal"}}, "its 'settings': unhashable type"),
    ],
)
def test_a_description_with_something_else_in_it_is_refused(tmp_path, exported, changes, words):
    folder = shutil.copytree(exported, tmp_path / "m")
    (folder / "assets.extra" / "cb_keras.json").write_text(json.dumps(described(**changes)))
    with pytest.raises(UserError, match=r"was not exported by experiments\.train") as caught:
        saved_model.description(folder)
    assert words in str(caught.value)


def evaluate(run, split):
    folder = run.folder / "saved_model"
    return evaluation.evaluate(folder, saved_model.description(folder), split, 100)


def test_images_of_another_size_are_refused_with_both_sizes(digits_run):
    split = Split(np.zeros((4, 32, 32, 3), "uint8"), np.zeros(4, "int32"))
    with pytest.raises(UserError, match=r"\(32, 32, 3\).*8, 8, 1"):
        evaluate(digits_run, split)


def test_labels_that_the_model_does_not_know_are_refused(digits_run):
    split = Split(np.zeros((4, 8, 8, 1), "uint8"), np.array([0, 1, 2, 57], "int32"))
    with pytest.raises(UserError, match=r"class 57, the model .* has 10 classes"):
        evaluate(digits_run, split)


def test_the_description_says_what_the_run_was(digits_run):
    note = digits_run.folder / "saved_model" / "assets.extra" / "cb_keras.json"
    description, config = json.loads(note.read_text()), digits_run.config
    for name in ("method", "loss", "cb_beta", "cb_power", "gamma"):
        assert description["settings"][name] == config["flags"][name]
    assert description["dataset"] == "digits"
    for name in ("data", "class_names", "class_counts", "class_weights"):
        assert description[name] == config[name]


def test_model_keras_and_the_saved_model_predict_the_same(digits_run):
    images = datasets.load("digits").test.images
    serve = serving(digits_run.folder / "saved_model")
    logits, _ = saved_model.predict(serve, images, 100)
    loaded = keras.models.load_model(digits_run.folder / "model.keras")
    again = loaded.predict(images.astype("float32"), batch_size=100, verbose=0)
    np.testing.assert_allclose(again, logits, rtol=1e-4, atol=1e-5)
    assert isinstance(loaded.loss, cb_keras.losses.ClassBalancedSoftmaxCrossentropy)
    assert loaded.loss.class_counts == digits_run.config["class_counts"]
