"""Where the fused op is used, where it is not and why, and that everything works without it."""

import functools
import json
import re
import shutil

import keras
import numpy as np
import pytest

from cb_keras import fused
from tests.cb_keras import reference
from tests.cb_keras.losses.test_class_balanced import (
    CLASSES,
    COUNTS,
    IDS,
    LOGITS,
    expected_losses,
    kinds,
    number,
)
from tests.cb_keras.losses.test_class_balanced_training import IDS as IDS_OF_INPUTS
from tests.cb_keras.losses.test_class_balanced_training import INPUTS, MODES, fit, linear_model
from tests.cb_keras.test_fused_gradient import types
from tests.fused_library import library_path, report, require_tensorflow, run_python

tf = require_tensorflow()
pytestmark = pytest.mark.usefixtures("fused_op")

Z = LOGITS.astype("float32")
TRAIN_WITHOUT_LIBRARY = """
import json, sys
import keras, numpy as np
from cb_keras import fused

fused._builder().LIBRARY = ""
model = keras.saving.load_model("model.keras")
inputs, labels = np.load("inputs.npy"), np.load("labels.npy")
history = model.fit(inputs, labels, batch_size=6, epochs=3, shuffle=False, verbose=0).history
loss = type(model.loss)(**{**model.loss.get_config(), "fused": True})
try:
    loss(labels, model(inputs))
except fused.FusedOpError as e:
    error = str(e)
print(json.dumps([model.loss.fused, fused.status(), error, history["loss"]]))
"""
STATUS_OF_PACKAGE = """
import pathlib
import tensorflow as tf
from cb_keras import fused

fused._builder()
fused._PACKAGE = pathlib.Path("package")
print(fused._matching_libraries(tf.__version__)[0][0])
print(fused.status())
"""
SERVE_WITH_TENSORFLOW_ALONE = """
import json, sys
import numpy as np, tensorflow as tf

model = tf.saved_model.load("saved_model")
logits = model.serve(np.load("inputs.npy"))
print(json.dumps(["cb_keras" in sys.modules, logits.numpy().tolist()]))
"""


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """A cache folder without a library, where the package has none either."""
    monkeypatch.setenv("CB_KERAS_CACHE", str(tmp_path))
    monkeypatch.setattr(fused._builder(), "LIBRARY", "no library.so")
    monkeypatch.setattr(fused, "_load", functools.cache(fused._load.__wrapped__))
    return tmp_path


@pytest.fixture
def library(fused_op):
    return library_path()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of a model that trained with the op, as it was before; losses; logits afterwards."""
    folder = tmp_path_factory.mktemp("trained")
    model = linear_model(CLASSES["focal"](COUNTS), "graph")
    model.save(folder / "model.keras")
    np.save(folder / "inputs.npy", INPUTS)
    np.save(folder / "labels.npy", IDS_OF_INPUTS)
    losses = fit(model, epochs=3)
    model.export(folder / "saved_model", verbose=False)
    return folder, losses, model.predict(INPUTS, verbose=0)


def assert_not_used(why):
    assert not fused.available()
    assert re.fullmatch(f"fused op: not in use: {why}", fused.status())
    np.testing.assert_allclose(
        number(CLASSES["focal"](COUNTS)(IDS, Z)), expected_losses("focal").mean(), rtol=1e-6
    )
    with pytest.raises(fused.FusedOpError, match=f"`fused=True`, but .* here: {why}"):
        CLASSES["focal"](COUNTS, fused=True)(IDS, Z)
    with pytest.raises(fused.FusedOpError, match=f"the fused op can't be used: {why}"):
        fused.crossentropy("focal", IDS, Z, np.ones(3), 1.0)


def test_the_status_names_the_library_and_its_kernels(library):
    assert fused.available()
    assert re.fullmatch(
        r"fused op: in use: .*\.so \(CPU kernels: (baseline|avx2|avx512); (no CUDA|CUDA [\d.]+)\)",
        fused.status(),
    )
    assert library.is_file()


@pytest.mark.parametrize("fused_argument", ["auto", True, False])
@kinds
def test_auto_and_true_put_the_op_in_the_graph_and_false_does_not(kind, fused_argument):
    loss = CLASSES[kind](COUNTS, fused=fused_argument)
    used = types(lambda z: loss(IDS, z), tf.TensorSpec((4, 3), "float32"))
    assert used == (set() if fused_argument is False else {"CbKerasLoss"})


def test_without_a_library_the_reason_names_the_command_that_builds_it(cache):
    version = re.escape(tf.__version__)
    assert_not_used(
        f"it is not built for TensorFlow {version}; python -m cb_keras.fused build builds it"
    )


@pytest.mark.parametrize("name", ["tensorflow", "sources", "sanitizers"])
def test_a_library_that_was_built_for_something_else_is_not_loaded(name, library, cache):
    content, value = library.read_bytes(), fused._builder().describe(library)[name]
    other = "0" * len(value) or "thread"
    old, new = (f'"{name}": "{x}"'.encode() for x in (value, other))
    assert content.count(old) == 1
    (cache / "other.so").write_bytes(content.replace(old, new))
    assert fused._builder().describe(cache / "other.so")[name] == other
    assert_not_used(r"it is not built for TensorFlow .*")


@pytest.mark.parametrize(
    "content",
    [b"", b"cb_keras ops library: {nonsense}\0", b"cb_keras ops library: {\xff}\0"],
    ids=["empty", "no JSON", "no text"],
)
def test_a_file_that_is_no_library_is_passed_over(content, cache):
    (cache / "damaged.so").write_bytes(content)
    assert_not_used(r"it is not built for TensorFlow .*")


def test_a_library_whose_end_is_missing_gives_a_reason_and_no_crash(tmp_path, library):
    """In a process of its own: the dynamic linker is killed by a file that is cut off."""
    content = library.read_bytes()
    end = content.index(b"}\0", content.index(b"cb_keras ops library: ")) + 2
    (tmp_path / "cut.so").write_bytes(content[:end])
    (tmp_path / "zeros.so").write_bytes(content[:end] + bytes(len(content) - end))
    script = "from cb_keras import fused; fused._builder().LIBRARY = ''; print(fused.status())"
    process = run_python("-c", script, CB_KERAS_CACHE=str(tmp_path))
    assert process.returncode == 0, process.stderr
    assert "fused op: not in use: " in process.stdout


def test_a_library_that_cannot_be_loaded_gives_the_reason_of_the_linker(library, cache):
    (cache / "damaged.so").write_bytes(bytes(64) + library.read_bytes()[64:])
    assert_not_used(r".*damaged\.so can't be loaded: .*ELF header")


def test_a_library_that_can_be_loaded_is_used_beside_one_that_cannot(library, tmp_path):
    """The damaged one comes first, beside the package. In a process that has loaded none yet."""
    (tmp_path / "package").mkdir()
    damaged = bytes(64) + library.read_bytes()[64:]
    (tmp_path / "package" / fused._builder().LIBRARY).write_bytes(damaged)
    shutil.copy(library, tmp_path / "good.so")
    process = run_python("-c", STATUS_OF_PACKAGE, folder=tmp_path, CB_KERAS_CACHE=str(tmp_path))
    assert process.returncode == 0, process.stderr
    first, second = process.stdout.splitlines()
    assert first.endswith(fused._builder().LIBRARY)
    assert second.startswith(f"fused op: in use: {tmp_path / 'good.so'} (CPU kernels: ")


@pytest.mark.parametrize(
    ("kind", "labels", "logits", "arguments", "reason"),
    [
        ("softmax", reference.one_hot(IDS, 3), Z, {}, "class ids, not one-hot labels"),
        ("focal", IDS, LOGITS, {"dtype": "float64"}, "no kernel for float64 logits"),
        ("sigmoid", IDS, 0.5 + 0 * Z, {"from_logits": False}, "logits, not probabilities"),
    ],
)
def test_what_the_op_cannot_do_is_left_to_keras_ops_unless_it_is_insisted_on(
    kind, labels, logits, arguments, reason
):
    value = number(CLASSES[kind](COUNTS, **arguments)(labels, logits))
    expected = expected_losses(kind).mean() if "from_logits" not in arguments else None
    if expected is not None:
        np.testing.assert_allclose(value, expected, rtol=1e-6)
    without = number(CLASSES[kind](COUNTS, fused=False, **arguments)(labels, logits))
    np.testing.assert_array_equal(value, without)
    with pytest.raises(fused.FusedOpError, match=f"`fused=True`, but .*{reason}"):
        CLASSES[kind](COUNTS, fused=True, **arguments)(labels, logits)


@pytest.mark.parametrize("nested", [False, True])
@kinds
def test_in_a_function_that_xla_compiles_auto_gives_the_same_value_without_the_op(kind, nested):
    auto, always = CLASSES[kind](COUNTS), CLASSES[kind](COUNTS, fused=True)

    def compiled(loss):
        inner = tf.function(lambda z: loss(IDS, z)) if nested else lambda z: loss(IDS, z)
        return tf.function(lambda z: inner(z), jit_compile=True)

    np.testing.assert_allclose(compiled(auto)(Z), expected_losses(kind).mean(), rtol=1e-6)
    with pytest.raises(fused.FusedOpError, match=r"`fused=True`, but .*XLA.*\(jit_compile\)"):
        compiled(always)(Z)


@pytest.mark.parametrize("mode", MODES)
@kinds
def test_fit_with_fused_true_trains_or_says_that_it_is_compiled(kind, mode):
    model = linear_model(CLASSES[kind](COUNTS, fused=True), mode)
    if mode == "compiled":
        with pytest.raises(fused.FusedOpError, match=r"`fused=True`, but .*XLA.*\(jit_compile\)"):
            fit(model)
    else:
        history = fit(model, epochs=3)
        expected = fit(linear_model(CLASSES[kind](COUNTS, fused=False), mode), epochs=3)
        np.testing.assert_allclose(history, expected, rtol=1e-5)
        assert history[2] < history[0]


@pytest.mark.parametrize("value", ["always", "True", None, 1, 0, [True]])
@kinds
def test_another_value_of_fused_is_refused(kind, value):
    with pytest.raises(ValueError, match=r'`fused` must be "auto", True or False, got ') as error:
        CLASSES[kind](COUNTS, fused=value)
    assert repr(value) in str(error.value)


@pytest.mark.parametrize("value", ["auto", True, False])
@kinds
def test_a_round_trip_keeps_fused(kind, value):
    loss = CLASSES[kind](COUNTS, fused=value)
    copy = type(loss).from_config(json.loads(json.dumps(loss.get_config())))
    assert copy.fused == value
    assert keras.losses.deserialize(keras.losses.serialize(loss)).fused == value


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_a_keras_file_made_with_the_op_trains_where_there_is_none(backend, trained, tmp_path):
    folder, losses, _ = trained
    pytest.importorskip(backend)
    auto, status, error, history = report(
        TRAIN_WITHOUT_LIBRARY, folder=folder, KERAS_BACKEND=backend, CB_KERAS_CACHE=str(tmp_path)
    )
    why = {"tensorflow": "it is not built for TensorFlow"}.get(backend, f"Keras runs on {backend}")
    assert auto == "auto"
    assert status.startswith(f"fused op: not in use: {why}")
    assert error.startswith(f"`fused=True`, but the fused op can't be used here: {why}")
    np.testing.assert_allclose(history, losses, rtol=1e-5)


def test_a_saved_model_of_a_model_that_trained_with_the_op_needs_tensorflow_alone(trained):
    folder, _, logits = trained
    ours, served = report(SERVE_WITH_TENSORFLOW_ALONE, folder=folder)
    assert not ours  # TensorFlow itself imports Keras
    np.testing.assert_allclose(served, logits, rtol=1e-6)
