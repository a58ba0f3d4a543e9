"""The build of the op library: what goes into it, what names it, and what can go wrong.

Scripts stand in for the compilers wherever what they make does not matter.
"""

import dataclasses
import os
import pathlib
import re
import shutil
import types

import pytest

from cb_keras.fused.sources import load_builder
from tests.fused_library import ROOT

FAKE_CXX = """#!/bin/sh
if [ "$1" = --version ]; then echo "fake 1.0"; exit; fi
echo "$@" >> "$(dirname "$0")/log"
{body}
while [ $# -gt 0 ]; do [ "$1" = -o ] && echo made > "$2"; shift; done
"""
FAKE_NVCC = FAKE_CXX.replace("fake 1.0", "Cuda compilation tools, release 12.4, V12.4.131")
TENSORFLOW = types.SimpleNamespace(
    __version__="2.21.0",
    sysconfig=types.SimpleNamespace(
        get_compile_flags=lambda: ["-I/here", "-DABI=1"], get_link_flags=lambda: ["-L/here", "-lx"]
    ),
)


def executable(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def build(tmp_path, monkeypatch):
    """The module of a copy of the sources; nvcc is left out unless a test brings its own."""
    monkeypatch.setenv("CB_KERAS_CUDA", "0")
    shutil.copytree(ROOT / "ops", tmp_path / "ops")
    return load_builder(tmp_path / "ops", name=f"ops_of_{tmp_path.name}")


@pytest.fixture
def cxx(tmp_path, monkeypatch):
    """Function that makes CXX a script which runs `body` for every file, then makes its output."""

    def make(body=""):
        path = executable(tmp_path / "fakecxx", FAKE_CXX.format(body=body))
        monkeypatch.setenv("CXX", path)
        return path

    return make


@pytest.fixture
def nvcc(build, tmp_path, monkeypatch):
    """A script that is the first nvcc on PATH, and wanted."""
    (tmp_path / "bin").mkdir()
    path = executable(tmp_path / "bin" / "nvcc", FAKE_NVCC.format(body=""))
    monkeypatch.setenv("CB_KERAS_CUDA", "1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return path


@pytest.fixture
def core(build, tmp_path):
    """A file that says of itself that it is a core library."""

    def make(**description):
        path = tmp_path / "core.so"
        usual = {"part": "core", "interface": "0" * 16, "cuda": None, "sanitizers": ""}
        path.write_bytes(build.mark({**usual, **description}))
        build.seal(path)
        return path

    return make


def log(script):
    return (pathlib.Path(script).parent / "log").read_text().splitlines()


def test_without_a_compiler_the_error_says_what_to_install(build, monkeypatch):
    monkeypatch.setattr(build.compilers, "shutil", types.SimpleNamespace(which=lambda _: None))
    with pytest.raises(
        build.compilers.BuildError, match=r"no C\+\+ compiler .*apt-get install g\+\+"
    ):
        build.Core.find()


@pytest.mark.parametrize("value", [None, ""])
def test_an_empty_cxx_is_as_none(value, build, monkeypatch):
    monkeypatch.setattr(build.compilers, "shutil", types.SimpleNamespace(which=lambda name: name))
    monkeypatch.delenv("CXX", raising=False)
    if value is not None:
        monkeypatch.setenv("CXX", value)
    assert build.compilers.find_cxx() == "g++"


@pytest.mark.parametrize("value", ["missing", "g++ -m64", "/nowhere/g++"])
def test_a_cxx_that_is_not_there_is_named_and_no_other_compiler_is_taken(value, build, monkeypatch):
    monkeypatch.setenv("CXX", value)
    wanted = rf"CXX is '{re.escape(value)}', but there is no such program; .*\(e\.g\. CXX=g\+\+\)"
    with pytest.raises(build.compilers.BuildError, match=wanted):
        build.Core.find()


def test_a_compile_error_shows_the_command_and_the_words_of_the_compiler(build, cxx, tmp_path):
    script = cxx("echo 'rows.cc:7: no such luck' >&2; exit 3")
    with pytest.raises(build.compilers.BuildError) as error:
        build.build(build.Core.find(), tmp_path / "out" / "library.so")
    command, words = str(error.value).split(" failed with status 3:\n")
    assert re.match(rf"{script} -std=c\+\+17 .* -c .*\.cc -o .*\.o$", command)
    assert words == "rows.cc:7: no such luck"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_compiler_that_cannot_be_run_is_named(build, cxx, tmp_path):
    pathlib.Path(cxx()).write_text("#!/nowhere/sh\n")
    with pytest.raises(build.compilers.BuildError, match=r"fakecxx can't be run: "):
        build.Core.find()


def test_a_compiler_that_does_not_say_its_version_is_named(build, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", executable(tmp_path / "silent", "#!/bin/sh\n"))
    with pytest.raises(build.compilers.BuildError, match=r"silent --version says nothing; set CXX"):
        build.Core.find()


def test_what_a_compiler_says_is_shown_even_if_it_is_not_utf8(build, cxx, tmp_path):
    cxx(r"printf 'caf\351.cc: no' >&2; exit 3")
    with pytest.raises(build.compilers.BuildError, match=r"caf\\xe9\.cc: no"):
        build.build(build.Core.find(), tmp_path / "library.so")


def test_cuda_1_without_nvcc_says_what_to_do(build, monkeypatch):
    monkeypatch.setenv("CB_KERAS_CUDA", "1")
    monkeypatch.setattr(build.compilers, "shutil", types.SimpleNamespace(which=lambda _: None))
    with pytest.raises(
        build.compilers.BuildError, match=r"CB_KERAS_CUDA=1, but there is no nvcc; .*PATH"
    ):
        build.compilers.find_nvcc()


@pytest.mark.parametrize("value", ["yes", "2", "true"])
def test_another_value_of_cuda_is_refused(value, build, monkeypatch):
    monkeypatch.setenv("CB_KERAS_CUDA", value)
    with pytest.raises(
        build.compilers.BuildError, match=f"CB_KERAS_CUDA must be 0 or 1, got '{value}'"
    ):
        build.compilers.find_nvcc()


def test_nvcc_compiles_for_every_gpu_from_sm_75_on_and_links_cudart_in(build, cxx, nvcc, tmp_path):
    cxx()
    toolchain = build.Core.find()
    assert (toolchain.nvcc, toolchain.nvcc_version) == (nvcc, "12.4.131")
    build.build(toolchain, tmp_path / "library.so")
    compiled, linked = log(nvcc)
    for target in ("75,code=sm_75", "80,code=sm_80", "86,code=sm_86", "90,code=sm_90"):
        assert f"-gencode=arch=compute_{target} " in compiled
    assert "-gencode=arch=compute_90,code=compute_90 " in compiled
    assert "-cudart=static" in linked


def test_nvcc_compiles_for_the_chosen_gpus_alone_and_the_library_says_so(
    build, cxx, nvcc, tmp_path, monkeypatch
):
    cxx()
    everywhere = build.Core.find()
    monkeypatch.setenv("CB_KERAS_CUDA_TARGETS", "80,90")
    toolchain = build.Core.find()
    assert toolchain.nvcc_version == "12.4.131, for sm_80 sm_90 alone"
    assert toolchain.key != everywhere.key
    build.build(toolchain, tmp_path / "library.so")
    assert re.findall(r"-gencode=(\S+)", log(nvcc)[0]) == [
        *("arch=compute_80,code=sm_80", "arch=compute_90,code=sm_90")
    ]


def test_targets_that_are_not_numbers_are_refused_by_name(build, cxx, nvcc, monkeypatch):
    cxx()
    monkeypatch.setenv("CB_KERAS_CUDA_TARGETS", "sm_90")
    with pytest.raises(
        build.compilers.BuildError,
        match=r"CB_KERAS_CUDA_TARGETS must be numbers of GPU architectures, got 'sm_90'; .* 90",
    ):
        build.Core.find()


@pytest.mark.parametrize("where", ["PATH", "CUDA_HOME"])
def test_nvcc_is_found_unless_cuda_0_leaves_it_out(where, build, nvcc, monkeypatch):
    monkeypatch.setenv("CB_KERAS_CUDA", "")
    if where == "CUDA_HOME":
        monkeypatch.setenv("PATH", "")
        monkeypatch.setenv("CUDA_HOME", str(pathlib.Path(nvcc).parents[1]))
    assert build.compilers.find_nvcc() == nvcc
    monkeypatch.setenv("CB_KERAS_CUDA", "0")
    assert build.compilers.find_nvcc() is None


@pytest.mark.parametrize(
    "change",
    [
        {"cxx_version": "g++ 13"},
        {"nvcc": "nvcc", "nvcc_version": "12.4"},
        {"nvcc": "nvcc", "nvcc_version": "13.0"},
        {"sanitizers": "address"},
    ],
    ids=str,
)
def test_the_key_of_the_core_changes_with_what_it_is_made_of(change, build, cxx):
    cxx()
    toolchain = build.Core.find()
    twelve = dataclasses.replace(toolchain, nvcc="nvcc", nvcc_version="12.5")
    changed = dataclasses.replace(toolchain, **change)
    assert re.fullmatch("[0-9a-f]{16}", toolchain.key)
    assert len({toolchain.key, twelve.key, changed.key}) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"tensorflow_version": "2.22.0"},
        {"cxx_version": "g++ 13"},
        {"interface": "1" * 16},
        {"cuda": "12.4"},
        {"compile_flags": ("-I/here", "-DABI=0")},
        {"link_flags": ("-L/here", "-ly")},
        {"sanitizers": "address"},
    ],
    ids=str,
)
def test_the_key_of_tensorflow_s_part_changes_with_what_it_is_made_of(change, build, cxx, core):
    cxx()
    toolchain = build.Toolchain.find(TENSORFLOW, core())
    assert re.fullmatch("[0-9a-f]{16}", toolchain.key)
    assert dataclasses.replace(toolchain, **change).key != toolchain.key


def test_what_others_see_of_a_core_changes_its_name_and_what_they_do_not_see_does_not(
    build, cxx, nvcc
):
    cxx()
    first = build.Core.find()
    others = (
        {"nvcc": None, "nvcc_version": None},
        {"nvcc": None, "nvcc_version": None, "sanitizers": "address"},
    )
    names = {dataclasses.replace(first, **other).description["interface"] for other in others}
    assert len(names | {first.description["interface"]}) == 3
    newer = dataclasses.replace(first, nvcc_version="13.0", cxx_version="g++ 13")
    assert newer.description["interface"] == first.description["interface"]
    (build.FOLDER / "cpu" / "rows.cc").write_text("changed")
    assert first.description["interface"] == newer.description["interface"]
    (build.FOLDER / "class_balanced_loss.h").write_text("changed")
    assert first.description["interface"] not in names | {newer.key}
    link = first.link([], build.FOLDER / "library.so")
    assert f"-Xlinker=-soname=libcb_keras_core.{first.description['interface']}.so" in link


def test_tensorflow_s_part_compiles_no_kernel_and_is_linked_with_the_core(
    build, cxx, core, tmp_path
):
    script = cxx()
    for cuda in (None, "12.4"):
        path = core(cuda=cuda)
        build.build(build.Toolchain.find(TENSORFLOW, path), tmp_path / "library.so")
        *compiled, linked = log(script)
        sources = re.findall(r" -c (\S+)", "\n".join(compiled))
        assert {pathlib.Path(source).parent.name for source in sources} >= {"tensorflow"}
        assert not any(f"/{name}/" in source for source in sources for name in ("cpu", "cuda"))
        assert f" {path} " in linked
        pathlib.Path(script).with_name("log").unlink()
        assert any(f"-DCBK_CUDA={int(cuda is not None)}" in line for line in compiled)


def test_what_is_no_core_library_is_refused_by_its_path(build, cxx, core):
    cxx()
    for path in (core(part="tensorflow"), pathlib.Path(__file__)):
        with pytest.raises(build.compilers.BuildError, match=f"{path} is damaged or no core"):
            build.Toolchain.find(TENSORFLOW, path)


def test_sanitizers_are_named_to_every_compilation_and_to_the_linker(
    build, cxx, core, monkeypatch, tmp_path
):
    monkeypatch.setenv("CB_KERAS_SANITIZE", "address,undefined")
    script = cxx()
    of_core = build.Core.find()
    shim = build.Toolchain.find(TENSORFLOW, core(sanitizers="address,undefined"))
    for toolchain in (of_core, shim):
        assert toolchain.description["sanitizers"] == "address,undefined"
        build.build(toolchain, tmp_path / "library.so")
        *compiled, linked = log(script)
        pathlib.Path(script).with_name("log").unlink()
        of_sources = [line for line in compiled if "info.cc" not in line]
        assert len(of_sources) >= 3
        for line in [*of_sources, linked]:
            assert " -fsanitize=address,undefined " in line
            assert " -fno-sanitize-recover=all" in line


def test_sanitizers_and_cuda_exclude_each_other(build, cxx, nvcc, monkeypatch):
    cxx()
    monkeypatch.setenv("CB_KERAS_SANITIZE", "address")
    with pytest.raises(
        build.compilers.BuildError, match=r"CB_KERAS_SANITIZE=address .*set CB_KERAS_CUDA=0"
    ):
        build.Core.find()


def test_the_preloaded_sanitizer_is_not_handed_on_to_the_compiler(build, monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", "nothing.so")
    assert build.compilers.run(["sh", "-c", "echo ${LD_PRELOAD-none}"]) == "none\n"


def test_what_is_in_check_is_not_part_of_a_library(build, cxx, core):
    cxx()
    both = build.Core.find(), build.Toolchain.find(TENSORFLOW, core())
    checks = [p for p in (build.FOLDER / "check").rglob("*") if p.is_file()]
    names = {path.name for path in checks}
    assert {"cpu_check.cc", "cuda_check.cu", "problem.h", "emulator.h", "build.py"} <= names
    keys = [toolchain.key for toolchain in both]
    for path in checks:
        path.write_text("changed")
    assert [toolchain.key for toolchain in both] == keys


def test_the_key_does_not_change_with_the_folders_of_tensorflow(build, cxx, core):
    cxx()
    toolchain = build.Toolchain.find(TENSORFLOW, core())
    there = {"compile_flags": ("-I/there", "-DABI=1"), "link_flags": ("-L/there", "-lx")}
    assert dataclasses.replace(toolchain, **there).key == toolchain.key


def read_by(build, commands):
    """The files in the folder of sources that these compilations read, and what holds the flags."""
    todo = {build.FOLDER / f"{name}.py" for name in ("compilers", "sealed")}
    for line in commands:
        todo |= {pathlib.Path(name) for name in re.findall(r" -c (\S+)", line)}
    read = set()
    while todo:
        path = todo.pop()
        if path.is_relative_to(build.FOLDER) and path.is_file() and path not in read:
            read.add(path)
            included = re.findall(r'#include "(.*)"', path.read_text())
            places = (path.parent, build.FOLDER / "third_party")
            found = [pathlib.Path(os.path.normpath(p / name)) for p in places for name in included]
            # The emulation of CUDA, which no library contains, shares headers with the checks.
            todo |= {path for path in found if path.parent.name != "check"}
    return read


@pytest.mark.parametrize("part", ["core", "shim"])
def test_the_key_changes_with_every_source_that_a_compiler_reads(
    part, build, cxx, nvcc, core, tmp_path
):
    script = cxx()
    toolchain = build.Core.find() if part == "core" else build.Toolchain.find(TENSORFLOW, core())
    build.build(toolchain, tmp_path / "library.so")
    read = read_by(build, log(script) + (log(nvcc) if part == "core" else []))
    read.add(build.FOLDER / f"{part}.py")
    names = {path.relative_to(build.FOLDER).as_posix() for path in read}
    own = {
        "core": {"losses.h", "cpu/simd.h", "cuda/class_balanced_loss.cu"},
        "shim": {"tensorflow/ops.cc", "tensorflow/kernels.cc"},
    }
    assert {"class_balanced_loss.h", *own[part]} <= names
    keys = [toolchain.key]
    for path in sorted(read):
        path.write_text(path.read_text() + "\n")
        keys.append(toolchain.key)
        assert keys[-1] != keys[-2], path
    assert len(set(keys)) == len(keys)


def test_a_change_of_a_kernel_or_of_tensorflow_s_part_leaves_the_other_library(build, cxx, core):
    cxx()
    both = build.Core.find(), build.Toolchain.find(TENSORFLOW, core())
    before = [toolchain.key for toolchain in both]
    (build.FOLDER / "cpu" / "rows.cc").write_text("changed")
    middle = [toolchain.key for toolchain in both]
    assert (middle[0] != before[0], middle[1] == before[1]) == (True, True)
    (build.FOLDER / "tensorflow" / "ops.cc").write_text("changed")
    after = [toolchain.key for toolchain in both]
    assert (after[0] == middle[0], after[1] != middle[1]) == (True, True)
