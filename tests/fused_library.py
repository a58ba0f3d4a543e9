"""The op library for the tests, and fresh processes that look at it."""

import json
import os
import pathlib
import re
import subprocess
import sys

import keras
import pytest

from cb_keras import fused
from cb_keras.fused import core
from cb_keras.fused.sources import builder
from tests import HANG_SECONDS

ROOT = pathlib.Path(__file__).parent.parent


def require_tensorflow():
    """The module tensorflow; where Keras runs on another backend, the test or file is skipped."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the fused op is TensorFlow's", allow_module_level=True)
    import tensorflow

    return tensorflow


def ensure_library():
    """Makes the op available in this process and those that it starts: builds it if need be.

    A build leaves CUDA out where there is no GPU; it fails the test, unless nothing can compile.
    """
    if fused.available():
        return
    if builder().compilers.find_cxx() is None:
        pytest.skip("there is no C++ compiler to build the fused op with")
    with pytest.MonkeyPatch.context() as patch:
        if not _has_gpu():
            patch.setenv("CB_KERAS_CUDA", "0")
        elif builder().compilers.find_nvcc() is None:
            pytest.skip("there is a GPU, but no nvcc to build the fused op with")
        fused.build()
    assert fused.available(), fused.status()


def ensure_core():
    """The core library of this process, on any backend: built if need be, without CUDA."""
    if core.find()[0] is None:
        if builder().compilers.find_cxx() is None:
            pytest.skip("there is no C++ compiler to build the core library with")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CB_KERAS_CUDA", "0")
            core.build()
    found, why = core.loaded()
    assert found, why
    return found


def _has_gpu():
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return bool(require_tensorflow().config.get_visible_devices("GPU"))
    if backend == "jax":
        import jax

        return jax.default_backend() == "gpu"
    import torch

    return torch.cuda.is_available()


def library_path():
    """Path of the library that is in use in this process."""
    return pathlib.Path(re.search(r"in use: (.*) \(CPU kernels", fused.status())[1])


def run_python(*arguments, folder=ROOT, **environment):
    """Runs Python in a folder, with changes to the environment; returns the finished process."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )


def report(script, folder=ROOT, **environment):
    """The JSON that a script prints last, run in a process of its own."""
    process = run_python("-c", script, folder=folder, **environment)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])
