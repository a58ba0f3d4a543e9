"""Where the fused op is used, where it is not and why, and that everything works without it."""

import functools
import json
import pwd
import re
import shutil

import keras
import numpy as np
import pytest

from cb_keras import fused
from cb_keras.fused import core
from cb_keras.fused import library as fused_library
from cb_keras.fused.kinds import KINDS
from tests.cb_keras.cases import (
    CLASSES,
    COUNTS,
    IDS,
    LOGITS,
    expected_losses,
    fit,
    kinds,
    linear_model,
    number,
)
from tests.cb_keras.fused.cases import Z, assert_not_used, raw_ops, tf, types, write_sealed
from tests.fused_library import library_path

pytestmark = pytest.mark.usefixtures("fused_op")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """A cache folder without a library, where the package has none either."""
    monkeypatch.setenv("CB_KERAS_CACHE", str(tmp_path))
    monkeypatch.setattr(fused_library.builder(), "LIBRARY", "no library.so")
    assert core.loaded()[0], core.loaded()  # this process has it, and keeps it
    find = functools.cache(fused_library._find.__wrapped__)
    monkeypatch.setattr(fused_library, "_find", find)
    monkeypatch.setattr(fused_library, "_in_use", [])
    return tmp_path


@pytest.fixture
def library(fused_op):
    return library_path()


def test_the_status_names_the_library_and_its_kernels(library):
    assert fused.available()
    assert re.fullmatch(
        r"fused op: in use: .*\.so "
        r"\(CPU kernels: (baseline|avx2|avx512); (no CUDA|CUDA [\d.]+)(, no XLA)?\)",
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
    content, value = library.read_bytes(), fused_library.builder().describe(library)[name]
    other = "0" * len(value) or "thread"
    old, new = (f'"{name}": "{x}"'.encode() for x in (value, other))
    assert content.count(old) == 1
    write_sealed(cache / "other.so", content.replace(old, new))
    assert fused_library.builder().describe(cache / "other.so")[name] == other
    assert_not_used(r"it is not built for TensorFlow .*")


def test_a_library_that_was_built_for_another_core_is_not_loaded_and_the_status_says_so(
    library, cache
):
    content, value = library.read_bytes(), fused_library.builder().describe(library)["interface"]
    write_sealed(cache / "other.so", content.replace(value.encode(), b"0" * len(value)))
    assert_not_used(
        rf".*/other\.so was built for another core library than {core.loaded()[0].path}; "
        "python -m cb_keras.fused build builds one for this"
    )


def test_the_linker_refuses_a_library_whose_core_is_not_loaded(library, cache):
    """Its name there holds the digest, which is what is replaced here."""
    content, value = library.read_bytes(), core.loaded()[0].description["interface"]
    name = f"libcb_keras_core.{value}.so".encode()
    assert content.count(name) == 1
    other = name.replace(value.encode(), b"0" * len(value))
    write_sealed(cache / "other.so", content.replace(name, other))
    assert_not_used(
        rf".*/other\.so can't be loaded: {other.decode()}: cannot open shared object .*"
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"cb_keras ops library: {nonsense}\0", b"cb_keras ops library: {\xff}\0"],
    ids=["empty", "no JSON", "no text"],
)
def test_a_file_that_is_not_a_library_is_passed_over(content, cache):
    (cache / "damaged.so").write_bytes(content)
    assert_not_used(
        r"it is not built for TensorFlow .*; .*damaged\.so is damaged or not a library.*"
    )


def test_a_library_with_one_bit_changed_is_not_loaded(library, cache):
    content = bytearray(library.read_bytes())
    content[len(content) // 2] ^= 1
    (cache / "flipped.so").write_bytes(content)
    assert_not_used(r"it is not built .*flipped\.so is damaged or not a library of this version")


def test_a_library_that_cannot_be_loaded_gives_the_reason_of_the_linker(library, cache):
    write_sealed(cache / "damaged.so", bytes(64) + library.read_bytes()[64:])
    assert_not_used(r".*damaged\.so can't be loaded: .*ELF header")


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
def test_a_cache_that_cannot_be_used_is_named_and_no_loss_fails_because_of_it(
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


def test_an_unexpected_error_is_a_reason_and_no_loss_fails_because_of_it(cache, monkeypatch):
    def unreadable():
        raise PermissionError(13, "Permission denied", "/the/sources")

    monkeypatch.setattr(fused_library.builder(), "shim_digest", unreadable)
    assert_not_used(r"looking for it failed \(PermissionError: .*'/the/sources'\)")


def test_a_hidden_gpu_is_not_a_gpu_even_if_it_was_hidden_later(library, cache, monkeypatch):
    if fused_library.builder().describe(library)["cuda"]:
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


@pytest.mark.parametrize(("kind", "nested"), [("softmax", False), ("focal", True)])
def test_where_xla_can_not_call_the_op_auto_gives_the_same_value_without_it(
    kind, nested, monkeypatch
):
    monkeypatch.setattr(fused_library, "compiles", lambda: False)
    auto, always = CLASSES[kind](COUNTS), CLASSES[kind](COUNTS, fused=True)

    def compiled(loss):
        inner = tf.function(lambda z: loss(IDS, z)) if nested else lambda z: loss(IDS, z)
        return tf.function(lambda z: inner(z), jit_compile=True)

    np.testing.assert_allclose(compiled(auto)(Z), expected_losses(kind).mean(), rtol=1e-6)
    with pytest.raises(fused.FusedOpError, match=r"`fused=True`, but .*XLA.*\(jit_compile\)"):
        compiled(always)(Z)


@pytest.mark.parametrize(
    ("kind", "mode"), [("softmax", "graph"), ("sigmoid", "eager"), ("focal", "graph")]
)
def test_fit_with_fused_true_trains(kind, mode):
    history = fit(linear_model(CLASSES[kind](COUNTS, fused=True), mode), epochs=3)
    expected = fit(linear_model(CLASSES[kind](COUNTS, fused=False), mode), epochs=3)
    np.testing.assert_allclose(history, expected, rtol=1e-5)
    assert history[2] < history[0]


def test_fit_with_fused_true_says_that_it_is_compiled_where_xla_can_not_call_the_op(monkeypatch):
    monkeypatch.setattr(fused_library, "compiles", lambda: False)
    model = linear_model(CLASSES["sigmoid"](COUNTS, fused=True), "compiled")
    with pytest.raises(fused.FusedOpError, match=r"`fused=True`, but .*XLA.*\(jit_compile\)"):
        fit(model)


def test_the_table_of_losses_names_those_of_the_op_in_its_order():
    arguments = (Z, IDS, np.ones(3, "float32"), 1.0)
    with tf.Graph().as_default() as graph:
        raw_ops().cb_keras_loss(*arguments, loss="softmax")
        raw_ops().cb_keras_loss_and_gradient(*arguments, 1.0, loss="softmax")
    ops = [op for op in graph.get_operations() if op.type.startswith("CbKeras")]
    assert len(ops) == 2
    for op in ops:
        (names,) = (a.allowed_values.list.s for a in op.op_def.attr if a.name == "loss")
        assert [name.decode() for name in names] == list(KINDS)


@pytest.mark.parametrize("ask", [fused.why_not, fused.crossentropy], ids=lambda f: f.__name__)
def test_a_loss_that_the_op_does_not_have_is_refused_with_those_that_it_has(ask):
    arguments = (True, "float32") if ask is fused.why_not else (IDS, Z, np.ones(3))
    names = "must be one of 'softmax', 'sigmoid', 'focal', 'softmax_focal', got 'hinge'"
    with pytest.raises(ValueError, match=names):
        ask("hinge", *arguments)


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
