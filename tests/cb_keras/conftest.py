"""Fixtures of the library's tests."""

import pytest

from cb_keras import fused
from cb_keras.checks import class_ids, multi_hot
from tests.cb_keras.gradients import BACKEND
from tests.fused_library import ensure_library


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
