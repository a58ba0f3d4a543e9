"""The wheel: for any Python, with a core library where there is a compiler, without one where not.

A script stands in for the compiler where it does not matter what it makes.
"""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
import setuptools

from cb_keras.fused.sources import builder
from tests import HANG_SECONDS
from tests.fused_library import ROOT

pytestmark = pytest.mark.skipif(
    int(setuptools.__version__.split(".")[0]) < 77, reason="pip fetches a newer setuptools"
)
CXX = """#!/bin/sh
[ "$1" = --version ] && echo "fake 1.0"
BODY
while [ $# -gt 0 ]; do [ "$1" = -o ] && cat "$(dirname "$0")/content" > "$2"; shift; done
"""
CORE = "cb_keras/libcb_keras_core.so"


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What a package is built from, without the rest of a clone."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    hidden = shutil.ignore_patterns("*.so", "__pycache__")
    for name in ("cb_keras", "ops"):
        shutil.copytree(ROOT / name, folder / name, ignore=hidden)
    return folder


@pytest.fixture
def cxx(tmp_path):
    """Function that makes a compiler whose outputs say that they are a core library."""

    def make(body=""):
        path = tmp_path / "fakecxx"
        path.write_text(CXX.replace("BODY", body))
        path.chmod(0o755)
        (tmp_path / "content").write_bytes(builder().mark({"part": "core"}))
        return str(path)

    return make


def wheel(clone, folder, **environment):
    """The finished process, and the wheel that it made or None."""
    shutil.rmtree(clone / "build", ignore_errors=True)
    code = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, folder],
        cwd=clone,
        env={**os.environ, "CB_KERAS_CUDA": "0", "CB_KERAS_FUSED": "", **environment},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    return done, next(folder.glob("*.whl"), None)


def test_a_wheel_holds_the_core_and_the_sources_and_is_for_any_python_on_this_machine(
    clone, cxx, tmp_path
):
    done, path = wheel(clone, tmp_path, CXX=cxx())
    assert done.returncode == 0, done.stderr
    assert "-py3-none-" in path.name
    assert not path.name.endswith("-any.whl")
    with zipfile.ZipFile(path) as file:
        names, core = set(file.namelist()), file.read(CORE)
    assert builder().is_whole(core)
    assert builder().description_in(core) == {"part": "core"}
    sources = {f"cb_keras/_ops/{p.relative_to(ROOT / 'ops')}" for p in builder().core_sources()}
    assert sources <= names
    assert "cb_keras/_ops/tensorflow/kernels.cc" in names
    assert [name for name in names if "_ops/check/" in name] == []


@pytest.mark.parametrize(
    "environment", [{"PATH": "/nowhere", "CXX": ""}, {"CB_KERAS_FUSED": "0"}], ids=str
)
def test_without_a_compiler_or_where_it_is_not_wanted_the_wheel_is_for_every_machine(
    environment, clone, tmp_path
):
    done, path = wheel(clone, tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert path.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(path) as file:
        assert CORE not in file.namelist()


@pytest.mark.parametrize("wanted", ["", "1"])
def test_a_compiler_that_fails_is_an_error_only_where_the_op_is_wanted(
    wanted, clone, cxx, tmp_path
):
    script = cxx("[ $# -gt 1 ] && { echo no such luck >&2; exit 3; }")
    done, path = wheel(clone, tmp_path, CXX=script, CB_KERAS_FUSED=wanted)
    said = done.stdout + done.stderr
    assert "the fused op was not built: " in said
    assert "no such luck" in said
    assert (done.returncode == 0) == (wanted == "") == (path is not None)
    if path:
        with zipfile.ZipFile(path) as file:
            assert CORE not in file.namelist()


def test_no_requirement_of_the_build_is_a_framework(clone):
    code = "from setuptools.build_meta import get_requires_for_build_wheel as f; print(f())"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=clone,
        capture_output=True,
        text=True,
        check=True,
        timeout=HANG_SECONDS,
    )
    assert done.stdout.splitlines()[-1] == "[]"
