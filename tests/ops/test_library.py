"""The built library: what it says of itself, and what a build leaves behind, alone or not."""

import os
import platform
import runpy
import signal
import subprocess
import sys
import time

import pytest

from cb_keras import fused
from cb_keras.fused import core
from cb_keras.fused.availability import parts
from cb_keras.fused.sources import builder as find_builder
from tests import HANG_SECONDS
from tests.fused_library import ROOT, ensure_library, library_path, require_tensorflow

tf = require_tensorflow()

# Runs without TensorFlow: the build imports nothing but the standard library.
BUILD = """
import sys
from ops import build
build.build(build.Core(sys.argv[1], "fake"), sys.argv[2])
"""
STOPS_WHEN_LINKING = """#!/bin/sh
for word in "$@"; do
  [ "$last" = -o ] && echo made > "$word"
  last="$word"
done
case "$*" in *-shared*) touch "$(dirname "$0")/linking"; exec sleep HANG;; esac
""".replace("HANG", str(HANG_SECONDS))
FAILS = """#!/bin/sh
[ "$1" = --version ] || { echo no >&2; exit 3; }
echo fake 1.0
"""
LOGS_ITS_OUTPUTS = """#!/bin/sh
for word in "$@"; do
  case "$last $word" in "-o "*.o) basename "$word" >> LOG;; esac
  last="$word"
done
exec CXX "$@"
"""


@pytest.fixture
def library():
    ensure_library()
    return library_path()


@pytest.fixture
def builder():
    return find_builder()


def executable(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def write_library(cache):
    """Files that say of themselves what builds for this machine would say; returns TensorFlow's."""
    builder = find_builder()
    kernels = write_described(cache, builder.Core.find())
    return write_described(cache, builder.Toolchain.find(tf, kernels))


def write_described(cache, toolchain):
    path = cache / f"{toolchain.key}.so"
    path.write_bytes(find_builder().mark(toolchain.description))
    find_builder().seal(path)
    return path


def test_the_library_is_described_without_being_loaded(library, builder, tmp_path):
    content = library.read_bytes()
    content = content[: content.rindex(b"\n", 0, -1)]  # without its seal
    (tmp_path / "no ELF.so").write_bytes(bytes(64) + content[64:])
    builder.seal(tmp_path / "no ELF.so")
    description = builder.describe(tmp_path / "no ELF.so")
    of_core = core.loaded()[0].description
    assert description.keys() == of_core.keys() | {"tensorflow"}
    assert description["interface"] == of_core["interface"]
    assert description["tensorflow"] == tf.__version__
    assert description["sources"] == builder.shim_digest()
    assert description["sanitizers"] == builder.compilers.sanitizers()
    assert ("no CUDA" in fused.status()) == (description["cuda"] is None)


def test_a_file_that_is_not_a_library_has_no_description(builder):
    assert builder.describe(__file__) is None


@pytest.mark.parametrize("change", ["first", "middle", "last", "cut", "longer"])
def test_a_library_that_is_not_as_it_was_built_has_no_description(change, builder, tmp_path):
    path = write_library(tmp_path)
    assert builder.describe(path)
    content = bytearray(path.read_bytes())
    if change in ("cut", "longer"):
        content = content[:-1] if change == "cut" else content + b"\n"
    else:
        content[{"first": 0, "middle": len(content) // 2, "last": -1}[change]] ^= 1
    path.write_bytes(content)
    assert builder.describe(path) is None


def test_the_core_has_the_kernels_of_every_instruction_set_and_the_other_has_none(library):
    content = core.loaded()[0].path.read_bytes()
    assert b"11kRowKernelsE" not in library.read_bytes()
    x86 = ["avx2", "avx512"] if platform.machine() == "x86_64" else []
    for name in ["baseline", *x86]:
        assert f"N8cb_keras{len(name)}{name}11kRowKernelsE".encode() in content


def test_building_what_is_built_returns_it_and_leaves_the_op_in_use(
    library, builder, monkeypatch, tmp_path
):
    monkeypatch.setenv("CB_KERAS_CUDA", "0")
    monkeypatch.setenv("CB_KERAS_CACHE", str(tmp_path))
    path = write_library(tmp_path)
    before = path.stat()
    assert fused.build() == path
    assert path.stat() == before
    assert fused.available()
    assert "in use" in fused.status()


def test_a_library_that_was_cut_off_is_built_again(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", executable(tmp_path / "fakecxx", FAILS))
    monkeypatch.setenv("CB_KERAS_CUDA", "0")
    monkeypatch.setenv("CB_KERAS_CACHE", str(tmp_path))
    path = write_library(tmp_path)
    assert fused.build() == path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(fused.FusedOpError, match="failed with status 3"):
        fused.build()


def test_a_cache_folder_that_cannot_be_made_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CB_KERAS_CUDA", "0")
    monkeypatch.setenv("CB_KERAS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(fused.FusedOpError, match=r"the fused op can't be built: .*file/cache"):
        fused.build()


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_build_leaves_no_library_and_the_next_one_makes_it(kill, tmp_path):
    script = executable(tmp_path / "fakecxx", STOPS_WHEN_LINKING)
    command = [sys.executable, "-c", BUILD, script, tmp_path / "out" / "library.so"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        process_group=0,  # its own, so that the linker goes with it
        # A job in the background of a script inherits that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + HANG_SECONDS
    while not (tmp_path / "linking").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, kill)
    process.communicate()
    assert process.returncode != 0
    assert list((tmp_path / "out").glob("*.so")) == []
    executable(tmp_path / "fakecxx", STOPS_WHEN_LINKING.replace("exec sleep", "echo"))
    subprocess.run(command, cwd=ROOT, check=True)
    assert (tmp_path / "out" / "library.so").is_file()


@pytest.mark.slow
def test_two_processes_that_build_at_once_make_one_library_and_both_use_it(builder, tmp_path):
    if builder.compilers.find_cxx() is None:
        pytest.skip("there is no C++ compiler")
    script = LOGS_ITS_OUTPUTS.replace("LOG", str(tmp_path / "log"))
    script = script.replace("CXX", builder.compilers.find_cxx())
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "CXX": executable(tmp_path / "cxx", script),
        "CB_KERAS_CUDA": "0",
        "CB_KERAS_CACHE": str(tmp_path / "cache"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "cb_keras.fused", "build"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=HANG_SECONDS) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    libraries = {builder.describe(path)["part"]: path for path in (tmp_path / "cache").glob("*.so")}
    assert libraries.keys() == {"core", "tensorflow"}
    library = libraries["tensorflow"]
    for output, _ in outputs:
        built, status, of_core, of_tensorflow = output.splitlines()
        assert built == f"built: {library}"
        assert of_core.startswith(f"core library: loaded: {libraries['core']} (")
        assert of_tensorflow.startswith(f"TensorFlow's ops: loaded: {library} (")
        assert status.startswith(f"fused op: in use: {library} (CPU kernels: ")
    compiled = (tmp_path / "log").read_text().split()
    for name in ("info.o", "handlers.o"):  # each of the two libraries has one
        compiled.remove(name)
    assert len(compiled) == len(set(compiled)) >= 7
    assert [p for p in library.parent.iterdir() if p.suffix not in (".so", ".lock")] == []


def run_command(monkeypatch, *arguments):
    """Exit status of `python -m cb_keras.fused ARGUMENTS`, which runs in this process."""
    monkeypatch.setattr(sys, "argv", ["cb_keras.fused", *arguments])
    with pytest.raises(SystemExit) as exit:
        runpy.run_module("cb_keras.fused", run_name="__main__", alter_sys=True)
    return exit.value.code


def test_the_command_status_prints_a_line_and_one_of_each_library(library, monkeypatch, capsys):
    assert run_command(monkeypatch, "status") == 0
    output, error = capsys.readouterr()
    assert (output.splitlines(), error) == ([fused.status(), *parts()], "")
    assert parts()[0].startswith(f"core library: loaded: {core.loaded()[0].path} (CPU kernels: ")
    assert parts()[1] == f"TensorFlow's ops: loaded: {library} ({core.loaded()[0].details})"


def test_the_command_build_fails_with_what_the_compiler_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CXX", executable(tmp_path / "fakecxx", FAILS))
    monkeypatch.setenv("CB_KERAS_CUDA", "0")
    monkeypatch.setenv("CB_KERAS_CACHE", str(tmp_path))
    assert run_command(monkeypatch, "build") == 1
    output, error = capsys.readouterr()
    assert output == ""
    assert error.startswith("error: the fused op can't be built: ")
    assert error.endswith(" failed with status 3:\nno\n")
    assert list(tmp_path.glob("*.so")) == []


def test_the_command_build_prints_the_path_and_the_status(library, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CB_KERAS_CUDA", "0")
    monkeypatch.setenv("CB_KERAS_CACHE", str(tmp_path))
    path = write_library(tmp_path)
    assert run_command(monkeypatch, "build") == 0
    assert capsys.readouterr().out.splitlines() == [f"built: {path}", fused.status(), *parts()]


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["status", "build"]])
def test_any_other_command_shows_the_usage(arguments, monkeypatch, capsys):
    assert run_command(monkeypatch, *arguments) == 2
    assert tuple(capsys.readouterr()) == ("", "usage: python -m cb_keras.fused status|build\n")
