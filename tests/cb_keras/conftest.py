"""Fixtures of the library's tests, and which of them are long on JAX."""

import pytest

from cb_keras import fused
from cb_keras.checks import class_ids, multi_hot
from tests.cb_keras.gradients import BACKEND
from tests.fused_library import ensure_library

# Of many small cases, each of which JAX compiles; the other backends run them in `make test`.
_SLOW_ON_JAX = {
    *("test_class_metrics", "test_sums", "test_asymmetric", "test_binary", "test_ignore_class"),
    *("test_label_smoothing", "test_softmax_focal", "test_class_counts", "test_binary_counts"),
    *("test_streams", "test_weights_normalize", "test_without_tensorflow", "test_resnet"),
    *("test_balanced_accuracy", "test_metrics", "test_what_counts", "test_functional_gradients"),
}


def pytest_collection_modifyitems(items):
    """Leaves some modules to `make test-slow` on JAX."""
    for item in items:
        if BACKEND == "jax" and item.path.stem in _SLOW_ON_JAX:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def fused_op():
    """The fused op is available: built if it was not yet. Skips on backends without it."""
    ensure_library()


@pytest.fixture(params=["keras.ops", "fused op"] if BACKEND == "tensorflow" else ["keras.ops"])
def both_ways(request, monkeypatch):
    """Runs a test twice: `fused="auto"` finds no op, and it finds one. Returns which.

    A test that names the ways itself is run as many times as it names; on backends without the op
    those of the op are of keras.ops too.
    """
    if request.param == "keras.ops" or BACKEND != "tensorflow":
        monkeypatch.setattr(fused, "why_not", lambda *_, **__: "this test is of keras.ops")
    else:
        request.getfixturevalue("fused_op")
    return request.param if BACKEND == "tensorflow" else "keras.ops"


@pytest.fixture
def unseen(monkeypatch):
    """No value of a label can be seen, as in code that PyTorch compiles, or on an accelerator."""
    for module in (class_ids, multi_hot):
        monkeypatch.setattr(module, "values_of", lambda _: None)
