"""What is exported needs TensorFlow alone, or says what it needs: the op is in no other process."""

import functools

import keras
import numpy as np
import pytest

from cb_keras import fused
from cb_keras.fused import library
from tests.cb_keras.cases import CLASSES, COUNTS, IDS, INPUTS, expected_losses, fit, linear_model
from tests.cb_keras.fused.cases import Z, tf, types
from tests.fused_library import report

pytestmark = [pytest.mark.usefixtures("fused_op"), pytest.mark.slow]

SIGNATURE = tf.TensorSpec((None, 3), "float32")
LOAD = """
import json, sys
import numpy as np, tensorflow as tf

def values(*names):
    found = {}
    for name in names:
        try:
            model = tf.saved_model.load(name)
            serve = model.serve if hasattr(model, "serve") else model.f
            found[name] = serve(np.load("inputs.npy" if name == "trained" else "logits.npy"))
            found[name] = found[name].numpy().tolist()
        except (FileNotFoundError, RuntimeError) as e:
            found[name] = str(e)
    return found

alone = values("endpoint", "function", "gradient", "traced before", "trained")
ours = "cb_keras" in sys.modules  # TensorFlow itself imports Keras
from cb_keras import fused

fused.load()
print(json.dumps([alone, ours, values("traced before")]))
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
def exports(tmp_path_factory, fused_op):
    """Folder of exports, and the logits of the model that trained with the op."""
    folder = tmp_path_factory.mktemp("exports")
    np.save(folder / "logits.npy", Z)
    archive_of(loss_of).write_out(folder / "endpoint", verbose=False)
    save(tf.function(loss_of, input_signature=[SIGNATURE]), folder / "function")
    save(tf.function(gradient_of, input_signature=[SIGNATURE]), folder / "gradient")
    save(tf.function(gradient_of).get_concrete_function(SIGNATURE), folder / "traced before")
    trained = linear_model(focal())
    fit(trained, epochs=3)
    trained.export(folder / "trained", verbose=False)
    np.save(folder / "inputs.npy", INPUTS)
    return folder, trained.predict(INPUTS, verbose=0)


@pytest.fixture(scope="module")
def loaded(exports):
    """What another process finds without cb_keras, whether it has it, and after `fused.load`."""
    return report(LOAD, folder=exports[0])


@pytest.fixture(scope="module")
def gradient():
    return gradient_of(tf.constant(Z)).numpy()


def test_what_is_exported_needs_tensorflow_alone_unless_it_was_traced_before(loaded, gradient):
    values, ours, _ = loaded
    assert not ours
    for name in ("endpoint", "function"):
        np.testing.assert_allclose(values[name], expected_losses("focal").mean(), rtol=1e-6)
    np.testing.assert_allclose(values["gradient"], gradient, rtol=1e-5, atol=1e-7)
    assert "Op type not registered 'CbKeras" in values["traced before"]


def test_a_saved_model_of_a_model_that_trained_with_the_op_needs_tensorflow_alone(exports, loaded):
    values, ours, _ = loaded
    assert not ours
    np.testing.assert_allclose(values["trained"], exports[1], rtol=1e-6)


def test_after_load_a_saved_model_that_holds_the_op_loads(loaded, gradient):
    np.testing.assert_allclose(loaded[2]["traced before"], gradient, rtol=1e-5, atol=1e-7)


def test_load_without_a_library_says_why(monkeypatch):
    monkeypatch.setattr(library, "find", lambda: (None, "it is not built"))
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


def test_an_export_leaves_the_op_to_what_is_traced_after_it(exports):
    assert types(loss_of, SIGNATURE) == {"CbKerasLoss"}
    assert fused.why_not("focal", dtype="float32") is None
