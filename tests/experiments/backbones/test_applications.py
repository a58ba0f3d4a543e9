"""The networks of keras.applications, against Keras' own functions."""

import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from cb_keras.layers import BatchNormalization
from experiments import backbones
from experiments.backbones import applications, weights
from experiments.cli import UserError
from tests.experiments.training.cases import stopped_after

NAMES = backbones.applications.FAMILY.usual()
SMALL = "MobileNetV3Small"  # the one that is built soonest


def network(name=SMALL, channels=3, classes=5, **changed):
    given = {"head": "softmax", "weight_decay": 2e-4, "dtype": "float32", **changed}
    return applications.network(name, (32, 32, channels), classes, **given)


def test_the_preprocessing_of_every_network_is_known():
    """As the documentation of keras.applications says of each."""
    found = {}
    for name in NAMES:
        found.setdefault(applications.preprocessing(name), set()).add(name)
    inside = ("ConvNeXt", "EfficientNet", "MobileNetV3")
    assert found[None] == {name for name in NAMES if name.startswith(inside)}
    assert found["torch"] == {"DenseNet121", "DenseNet169", "DenseNet201"}
    assert found["caffe"] == {"VGG16", "VGG19", "ResNet50", "ResNet101", "ResNet152"}
    assert found["tf"] == {*NAMES} - found[None] - found["torch"] - found["caffe"]


def test_a_preprocessing_that_can_not_be_exported_is_refused(monkeypatch):
    module = sys.modules[keras.applications.VGG16.__module__]
    monkeypatch.setattr(module, "preprocess_input", lambda x: x / 2)
    with pytest.raises(UserError, match="VGG16: its preprocess_input is none of caffe, tf, torch"):
        applications.preprocessing("VGG16")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "channels"), [("VGG16", 1), ("MobileNetV2", 3), ("DenseNet121", 3), (SMALL, 3)]
)
def test_raw_pixels_give_what_keras_own_functions_give(name, channels, tmp_path):
    model = network(name, channels)
    trunk = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
    )
    trunk.set_weights(model.layers[-2].get_weights())
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, channels), "uint8")
    module = sys.modules[getattr(keras.applications, name).__module__]
    colours = pixels.repeat(3 // channels, axis=-1).astype("float32")
    kernel, bias = model.layers[-1].get_weights()
    expected = trunk(module.preprocess_input(colours.copy())).numpy() @ kernel + bias
    np.testing.assert_allclose(model(pixels.astype("float32")), expected, rtol=1e-4, atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")  # in safe mode: it has no Lambda
    np.testing.assert_allclose(loaded(pixels.astype("float32")), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_penalty_head_policy_and_norm_are_those_of_the_protocol():
    model = network(head="sigmoid", weight_decay=0.1, dtype="mixed_bfloat16", classes=9)
    squares = [np.sum(np.square(v.numpy())) for v in model.trainable_variables[:-1]]
    assert float(sum(model.losses)) == pytest.approx(0.1 * sum(squares) / 2, rel=1e-3)
    np.testing.assert_allclose(model.layers[-1].bias, -np.log(8), rtol=1e-6)
    layers = [layer for layer in model.layers[-2].layers if layer.weights]
    assert {layer.dtype_policy.name for layer in layers} == {"mixed_bfloat16"}
    assert model.layers[-1].dtype_policy.name == "float32"
    norms = [n for n in layers if isinstance(n, keras.layers.BatchNormalization)]
    assert norms
    assert {type(layer) for layer in norms} == {BatchNormalization}
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.slow
def test_every_variable_of_convnext_is_penalised():
    model = network("ConvNeXtTiny", weight_decay=0.1)
    squares = [np.sum(np.square(v.numpy())) for v in model.trainable_variables]
    assert float(sum(model.losses)) == pytest.approx(0.1 * sum(squares) / 2, rel=1e-4)


@pytest.mark.slow
def test_weights_of_keras_own_efficientnet_of_imagenet_give_its_outputs(tmp_path, monkeypatch):
    """Keras adds a layer to it only where it fetches the file itself."""
    start = keras.applications.EfficientNetB0(include_top=False, weights=None)
    norm = next(x for x in start.layers if isinstance(x, keras.layers.Normalization))
    imagenet = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 0)
    norm.set_weights(list(map(np.array, imagenet)))
    start.save_weights(tmp_path / "notop.weights.h5")
    module = sys.modules[keras.applications.EfficientNetB0.__module__]
    path = str(tmp_path / "notop.weights.h5")
    monkeypatch.setattr(module.file_utils, "get_file", lambda *_, **__: path)
    theirs = keras.applications.EfficientNetB0(
        include_top=False, weights="imagenet", input_shape=(32, 32, 3), pooling="avg"
    )
    theirs.save(tmp_path / "whole.keras")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    for file in ("notop.weights.h5", "whole.keras"):
        model = network("EfficientNetB0")
        weights.load(model, tmp_path / file)
        np.testing.assert_allclose(model.layers[-2](pixels), theirs(pixels), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_network_of_keras_is_trained_stopped_continued_exported_and_evaluated(
    tmp_path, train_short, call_evaluate, write_tfds
):
    write_tfds(tmp_path / "data", "big", {"train": slice(0, 128), "test": slice(700, 760)}, scale=4)
    start = keras.applications.MobileNetV3Small(
        include_top=False, weights=None, input_shape=(32, 32, 3)
    )
    start.save_weights(tmp_path / "start.weights.h5")
    given = (
        *("--dataset=tfds:big", f"--data_dir={tmp_path / 'data'}", "--backbone=mobilenetv3small"),
        *("--depth=32", "--freeze_epochs=1", f"--backbone_weights={tmp_path}/start.weights.h5"),
        *("--learning_rate=0.01",),
    )
    whole = train_short(tmp_path / "whole", *given)
    assert whole.config["flags"]["backbone"] == SMALL
    assert whole.config["flags"]["backbone_weights"].startswith("start.weights.h5 (sha256 ")
    stopped_after(2, train_short, tmp_path / "stopped", *given)
    run = train_short(tmp_path / "stopped", *given, "--resume")
    for value, expected in zip(run.variables, whole.variables, strict=True):
        np.testing.assert_array_equal(value, expected)
    call_evaluate(
        *(f"--saved_model={run.folder}/saved_model", "--dataset=tfds:big"),
        *(f"--data_dir={tmp_path / 'data'}", f"--output={tmp_path}/again.json"),
    )
    again = json.loads((tmp_path / "again.json").read_text())
    for name in ("accuracy", "confusion_matrix"):
        assert again[name] == run.metrics[name]
    loaded = tf.saved_model.load(str(run.folder / "saved_model"))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 1), "uint8")
    outputs = loaded.signatures["serving_default"](images=tf.constant(pixels))
    model = keras.models.load_model(run.folder / "model.keras", compile=False)
    logits = model(pixels.astype("float32"))
    np.testing.assert_allclose(outputs["logits"], logits, rtol=1e-4, atol=1e-4)
