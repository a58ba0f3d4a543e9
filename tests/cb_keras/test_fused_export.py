"""What is exported needs TensorFlow alone, or says what it needs: the op is in no other process."""

import functools

import keras
import numpy as np
import pytest

from cb_keras import fused
from tests.cb_keras.losses.test_class_balanced import (
    CLASSES,
    COUNTS,
    IDS,
    LOGITS,
    expected_losses,
)
from tests.cb_keras.test_fused_gradient import types
from tests.fused_library import report, require_tensorflow

tf = require_tensorflow()
pytestmark = pytest.mark.usefixtures("fused_op")

Z = LOGITS.astype("float32")
SIGNATURE = tf.TensorSpec((None, 3), "float32")
LOAD = """
import json, sys
import numpy as np, tensorflow as tf

if sys.argv[1:] == ["load"]:
    from cb_keras import fused
    fused.load()
values, logits = {}, tf.constant(np.load("logits.npy"))
for name in ("endpoint", "function", "gradient", "traced before"):
    try:
        model = tf.saved_model.load(name)
        values[name] = (model.serve if name == "endpoint" else model.f)(logits).numpy().tolist()
    except (FileNotFoundError, RuntimeError) as e:
        values[name] = str(e)
print(json.dumps([values, "cb_keras" in sys.modules]))
"""


@functools.cache
def focal():
    return CLASSES["focal"](COUNTS)


def loss_of(logits):
    return focal()(IDS, logits)


def gradient_of(logits):
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = loss_of(logits)
    return tape.gradient(loss, logits)


def save(function, folder):
    module = tf.Module()
    module.class_weights = focal().class_weights.value
    module.f = function
    tf.saved_model.save(module, folder)


def archive_of(function):
    archive = keras.export.ExportArchive()
    archive.add_variable_collection("class_weights", [focal().class_weights])
    archive.add_endpoint("serve", function, input_signature=[SIGNATURE])
    return archive


@pytest.fixture(scope="module")
def folder(tmp_path_factory, fused_op):
    folder = tmp_path_factory.mktemp("exports")
    np.save(folder / "logits.npy", Z)
    archive_of(loss_of).write_out(folder / "endpoint", verbose=False)
    save(tf.function(loss_of, input_signature=[SIGNATURE]), folder / "function")
    save(tf.function(gradient_of, input_signature=[SIGNATURE]), folder / "gradient")
    save(tf.function(gradient_of).get_concrete_function(SIGNATURE), folder / "traced before")
    return folder


@pytest.fixture(scope="module")
def gradient():
    return gradient_of(tf.constant(Z)).numpy()


def test_what_is_exported_needs_tensorflow_alone_unless_it_was_traced_before(folder, gradient):
    values, ours = report(LOAD, folder=folder)
    assert not ours
    for name in ("endpoint", "function"):
        np.testing.assert_allclose(values[name], expected_losses("focal").mean(), rtol=1e-6)
    np.testing.assert_allclose(values["gradient"], gradient, rtol=1e-5, atol=1e-7)
    assert "Op type not registered 'CbKeras" in values["traced before"]


def test_after_load_a_saved_model_that_holds_the_op_loads(folder, gradient):
    values, _ = report("import sys; sys.argv[1:] = ['load']" + LOAD, folder=folder)
    np.testing.assert_allclose(values["traced before"], gradient, rtol=1e-5, atol=1e-7)


def test_load_without_a_library_says_why(monkeypatch):
    monkeypatch.setattr(fused, "_load", lambda: (None, "it is not built"))
    with pytest.raises(fused.FusedOpError, match=r"op can't be loaded: it is not built\."):
        fused.load()


def test_keras_export_of_a_loss_that_insists_on_the_op_is_refused(tmp_path):
    loss = CLASSES["focal"](COUNTS, fused=True)
    archive = archive_of(lambda logits: loss(IDS, logits))
    with pytest.raises(fused.FusedOpError, match=r"`fused=True`, but .*: this is being exported"):
        archive.write_out(tmp_path / "endpoint", verbose=False)


def test_what_keras_traces_for_onnx_and_openvino_does_not_hold_the_op():
    """They trace in those modules, where no SavedModel is written."""
    keras_onnx = {"__name__": "keras.src.export.onnx"}
    exec("def trace(f, *args): return f.get_concrete_function(*args)", keras_onnx)
    graph = keras_onnx["trace"](tf.function(loss_of), SIGNATURE).graph
    assert [op.type for op in graph.get_operations() if op.type.startswith("CbKeras")] == []


def test_an_export_leaves_the_op_to_what_is_traced_after_it(folder):
    assert types(loss_of, SIGNATURE) == {"CbKerasLoss"}
    assert fused.why_not("focal", sparse=True, dtype="float32") is None
