"""Where the fused op is used, where it is not and why, and that everything works without it."""

import functools
import json
import os
import pwd
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
print(fused._matching_libraries(tf.__version__)[0][0][0])
print(fused.status())
"""
FIRST_USE_OF_TWO_THREADS = """
import importlib, threading
import tensorflow as tf
from cb_keras import fused

fused._builder().LIBRARY = ""
load_op_library, both = tf.load_op_library, threading.Barrier(2)
tf.load_op_library = lambda path: (both.wait(), load_op_library(path))[1]
available = []
threads = [threading.Thread(target=lambda: available.append(fused.available())) for _ in "ab"]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
tf.load_op_library = load_op_library
fused = importlib.reload(fused)
fused._builder().LIBRARY = ""
print(available, fused.status())
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
    monkeypatch.setattr(fused, "_find", functools.cache(fused._find.__wrapped__))
    monkeypatch.setattr(fused, "_in_use", [])
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


def write_sealed(path, content):
    """Writes a library that is changed but, by its digest, whole."""
    path.write_bytes(content[: -len(fused._builder()._end(b""))])
    fused._builder().seal(path)


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
    write_sealed(cache / "other.so", content.replace(old, new))
    assert fused._builder().describe(cache / "other.so")[name] == other
    assert_not_used(r"it is not built for TensorFlow .*")


@pytest.mark.parametrize(
    "content",
    [b"", b"cb_keras ops library: {nonsense}\0", b"cb_keras ops library: {\xff}\0"],
    ids=["empty", "no JSON", "no text"],
)
def test_a_file_that_is_no_library_is_passed_over(content, cache):
    (cache / "damaged.so").write_bytes(content)
    assert_not_used(
        r"it is not built for TensorFlow .*; .*damaged\.so is damaged or not a library.*"
    )


def test_a_library_whose_end_is_missing_gives_a_reason_and_no_crash(tmp_path, library):
    """In a process of its own: the dynamic linker is killed by a file that is cut off."""
    content = library.read_bytes()
    end = content.index(b"}\0", content.index(b"cb_keras ops library: ")) + 2
    (tmp_path / "cut.so").write_bytes(content[:end])
    (tmp_path / "zeros.so").write_bytes(content[:end] + bytes(len(content) - end))
    script = "from cb_keras import fused; fused._builder().LIBRARY = ''; print(fused.status())"
    process = run_python("-c", script, CB_KERAS_CACHE=str(tmp_path))
    assert process.returncode == 0, process.stderr
    assert "fused op: not in use: it is not built" in process.stdout
    assert process.stdout.count("is damaged or not a library of this version") == 2


def test_a_library_with_one_bit_changed_is_not_loaded(library, cache):
    content = bytearray(library.read_bytes())
    content[len(content) // 2] ^= 1
    (cache / "flipped.so").write_bytes(content)
    assert_not_used(r"it is not built .*flipped\.so is damaged or not a library of this version")


def test_a_library_that_cannot_be_loaded_gives_the_reason_of_the_linker(library, cache):
    write_sealed(cache / "damaged.so", bytes(64) + library.read_bytes()[64:])
    assert_not_used(r".*damaged\.so can't be loaded: .*ELF header")


def test_a_library_that_can_be_loaded_is_used_beside_one_that_cannot(library, tmp_path):
    """The damaged one comes first, beside the package. In a process that has loaded none yet."""
    (tmp_path / "package").mkdir()
    damaged = bytes(64) + library.read_bytes()[64:]
    write_sealed(tmp_path / "package" / fused._builder().LIBRARY, damaged)
    shutil.copy(library, tmp_path / "good.so")
    process = run_python("-c", STATUS_OF_PACKAGE, folder=tmp_path, CB_KERAS_CACHE=str(tmp_path))
    assert process.returncode == 0, process.stderr
    first, second = process.stdout.splitlines()
    assert first.endswith(fused._builder().LIBRARY)
    assert second.startswith(f"fused op: in use: {tmp_path / 'good.so'} (CPU kernels: ")


def test_two_threads_at_first_use_and_a_module_imported_again_have_the_op(library, tmp_path):
    """In a process that has loaded none yet; both threads load, one registers the gradient."""
    shutil.copy(library, tmp_path / "good.so")
    process = run_python("-c", FIRST_USE_OF_TWO_THREADS, CB_KERAS_CACHE=str(tmp_path))
    assert process.stdout.startswith("[True, True] fused op: in use: "), process.stderr


def test_a_cache_whose_name_is_not_utf8_is_used_and_printed(library, tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    os.mkdir(folder)
    shutil.copy(library, folder)
    script = "from cb_keras import fused; fused._builder().LIBRARY = ''; print(fused.status())"
    process = run_python("-c", script, CB_KERAS_CACHE=folder, PYTHONIOENCODING="utf-8")
    assert "fused op: in use: " in process.stdout, process.stderr
    assert r"/caf\udce9/" in process.stdout


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        (
            {"CB_KERAS_CACHE": "gs://bucket/cache"},
            "must be a folder of this machine, got the URL",
        ),
        ({"CB_KERAS_CACHE": "cache"}, "must be an absolute path or start with ~, got 'cache'"),
        ({"CB_KERAS_CACHE": __file__}, f"{re.escape(__file__)} can't be read .Not a directory"),
        (
            {"CB_KERAS_CACHE": "", "XDG_CACHE_HOME": __file__},
            "/cb_keras can't be read .Not a directory",
        ),
        (
            {"CB_KERAS_CACHE": "", "XDG_CACHE_HOME": "", "HOME": None},
            "home directory .*not known",
        ),
    ],
    ids=["URL", "relative", "file", "XDG file", "no home"],
)
def test_a_cache_that_cannot_be_used_is_named_and_no_loss_fails_of_it(
    variables, why, cache, monkeypatch
):
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])  # a user without a name or a home
    for name, value in variables.items():
        monkeypatch.setenv(name, value) if value is not None else monkeypatch.delenv(name)
    assert_not_used(f"it is not built for TensorFlow .*{why}.*")
    with pytest.raises(fused.FusedOpError, match="the fused op can't be built: "):
        fused.build()


def test_a_library_that_everybody_can_change_is_not_loaded_and_the_status_says_so(library, cache):
    shutil.copy(library, cache / "ours.so")
    cache.chmod(0o777)
    assert_not_used(r"it is not built .*ours\.so is not loaded: everybody can write to .*")


def test_an_error_that_nobody_thought_of_is_a_reason_and_no_loss_fails_of_it(cache, monkeypatch):
    def unreadable():
        raise PermissionError(13, "Permission denied", "/the/sources")

    monkeypatch.setattr(fused._builder(), "sources_digest", unreadable)
    assert_not_used(r"looking for it failed \(PermissionError: .*'/the/sources'\)")


def test_a_hidden_gpu_is_not_a_gpu_even_if_it_was_hidden_later(library, cache, monkeypatch):
    if fused._builder().describe(library)["cuda"]:
        pytest.skip("the library at hand has CUDA kernels")
    (cache / "ours.so").symlink_to(library)  # no copy: its ops can't be loaded a second time
    visible = ["GPU:0"]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: list(visible))
    assert "not in use: there is a GPU, but " in fused.status()
    visible.clear()
    assert fused.available(), fused.status()


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
