"""The core library by itself: what it needs, what it shows, and what processes do around it."""

import ast
import ctypes
import mmap
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from cb_keras.fused import core
from tests import HANG_SECONDS
from tests.fused_library import ensure_core
from tests.ops import core_process

PROCESS = pathlib.Path(core_process.__file__)
NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # named from Python 3.13 on


@pytest.fixture(scope="module")
def loaded():
    return ensure_core()


def run(loaded, stage, folder):
    """What a stage of core_process.py finds, with four threads wherever it runs."""
    if loaded.description["sanitizers"]:
        pytest.skip("a sanitizer has to be there from the start of a process")
    done = subprocess.run(
        [sys.executable, PROCESS, loaded.path, stage],
        cwd=folder,
        env={**os.environ, "CB_KERAS_THREADS": "4"},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stdout)


def listing(*command):
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]} to look into the library with")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_core_shows_nothing_but_its_functions_and_asks_for_no_framework(loaded):
    shown = [line.split()[-1] for line in listing("nm", "-D", loaded.path).splitlines()]
    defined = listing("nm", "-D", "--defined-only", loaded.path).splitlines()
    defined = {line.split()[-1] for line in defined}
    assert {"CbkCpuLoss", "CbkCpuScale", "CbkXlaLoss", "kCbkBuild"} <= defined
    assert all(name == "kCbkBuild" or name.startswith("Cbk") for name in defined)
    foreign = re.compile(r"_?Py[A-Z_]|.*tensorflow|TF_|.*torch|.*(xla|absl)\d")
    assert [name for name in shown if name not in defined and foreign.match(name)] == []
    needed = re.findall(r"NEEDED.*\[(.*?)\.so", listing("readelf", "-d", loaded.path))
    assert set(needed) <= {"libc", "libm", "libstdc++", "libgcc_s", "libpthread", "ld-linux-x86-64"}


def test_a_forked_child_computes_by_threads_of_its_own_and_its_parent_goes_on(loaded, tmp_path):
    assert run(loaded, "fork", tmp_path) == [[0] * 8, True, True]


def test_eight_threads_at_once_get_what_one_gets(loaded, tmp_path):
    assert run(loaded, "threads", tmp_path) == [32, True]


def test_sub_interpreters_compute_or_are_refused_in_words_and_the_first_one_goes_on(
    loaded, tmp_path
):
    """Python 3.12 does not load ctypes in a sub-interpreter that has a lock of its own."""
    found, afterwards = run(loaded, "interpreters", tmp_path)
    assert afterwards is True
    for said in found:
        assert said == "True" or "does not support loading in subinterpreters" in said


@pytest.mark.parametrize("value", ["0", "-2", "two", "1.5", " 4"])
def test_a_number_of_threads_that_is_none_is_refused_with_the_fix(value, loaded, monkeypatch):
    monkeypatch.setenv("CB_KERAS_THREADS", value)
    library, why = core._first_that_loads(frozenset())
    assert library is None
    assert why == (
        f"`CB_KERAS_THREADS` must be a whole number of threads >= 1, got {value!r}; unset it to "
        "have one for each processor"
    )


def test_of_two_cores_the_one_that_the_caller_s_library_can_use_is_taken(loaded, monkeypatch):
    plain, cuda = (
        {**loaded.description, "interface": name * 16, "cuda": version}
        for name, version in (("0", None), ("1", "13.0"))
    )
    both = [(loaded.path, cuda), (loaded.path, plain)]
    monkeypatch.setattr(core, "_matching", lambda ops: (list(both), []))
    for interfaces, expected in (((), cuda), (("0" * 16,), plain), (("1" * 16,), cuda)):
        assert core._first_that_loads(frozenset(interfaces))[0].description == expected


def free_memory():
    found = re.search(r"MemAvailable: *(\d+) kB", pathlib.Path("/proc/meminfo").read_text())
    return int(found[1]) * 1024


def zeros(size):
    """bfloat16 zeros, in pages that need no memory until somebody writes to them."""
    return np.frombuffer(mmap.mmap(-1, 2 * size, flags=mmap.MAP_PRIVATE | NORESERVE), np.uint16)


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "with_gradient"), [(100_003, False), (8142, True)])
def test_more_than_two_to_the_31_logits_are_read_to_the_last(classes, with_gradient, loaded):
    rows = 2**31 // classes + 3
    logits, labels = zeros(rows * classes), np.zeros(rows, np.int64)
    labels[-1], logits[-1] = classes - 1, 0x4080  # 4.0
    weights, losses = np.ones(classes, np.float32), np.zeros(rows, np.float32)
    pointers = [a.ctypes.data for a in (logits, labels, weights)]
    problem = core_process.Problem(0, 1, 1, rows, classes, *pointers)
    problem.losses = losses.ctypes.data
    if with_gradient:
        if free_memory() < 4 * rows * classes:  # twice what it needs
            pytest.skip("there is too little memory for the gradient")
        gradient = zeros(rows * classes)
        problem.gradient = gradient.ctypes.data
    assert loaded.library.CbkCpuLoss(ctypes.byref(problem), None, None) == -1
    np.testing.assert_allclose(losses[:-1], np.log(classes), rtol=1e-6)
    total = np.exp(4.0) + classes - 1
    np.testing.assert_allclose(losses[-1], np.log(total) - 4, rtol=1e-6)
    if with_gradient:
        found = (gradient[-2 * classes :].astype(np.uint32) << 16).view(np.float32)
        expected = np.full(2 * classes, 1 / classes)
        expected[0], expected[classes:] = 1 / classes - 1, 1 / total
        expected[-1] = np.exp(4.0) / total - 1
        np.testing.assert_allclose(found, expected, rtol=2**-8)
        assert np.array_equal(gradient[:classes], gradient[-2 * classes : -classes])
        problem.gradient = None
    labels[-1] = classes
    assert loaded.library.CbkCpuLoss(ctypes.byref(problem), None, None) == rows - 1
    assert np.isnan(losses[-1])
