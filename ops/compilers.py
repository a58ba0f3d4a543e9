"""The compilers of this machine and the flags that the op's sources are compiled with.

Part of what names a library: a change of this file makes another one.
"""

import os
import pathlib
import platform
import re
import shlex
import shutil
import subprocess
import sys

_CPU_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd")
# What the sanitizers see is the source's own, so little is optimised away.
_SANITIZER_FLAGS = ("-O1", "-g1", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all")
# Instruction set -> what its copy of the row kernels is compiled with.
_X86_KERNELS = {
    "baseline": ("-march=x86-64",),
    "avx2": ("-march=x86-64-v3",),
    "avx512": ("-march=x86-64-v4", "-mprefer-vector-width=512"),
}
_CUDA_MACHINE_CODE = ("75", "80", "86", "89", "90")
_CUDA_PTX = "90"  # for GPUs that are newer than all of the above


class BuildError(Exception):
    """Something can't be built; the message says why and what would help."""


def find_cxx():
    """Path of the C++ compiler, or None; what `CXX` names is returned even if it is not there."""
    chosen = os.environ.get("CXX")
    if chosen:
        return shutil.which(chosen) or chosen
    return next(filter(None, map(shutil.which, ["g++", "clang++"])), None)


def existing_cxx():
    """Path of the C++ compiler.

    Raises:
        BuildError: There is none, or not the one that `CXX` names.
    """
    cxx = find_cxx()
    if cxx is None:
        raise BuildError(
            "there is no C++ compiler (g++, clang++ or what CXX names); "
            "install one, e.g. apt-get install g++"
        )
    if shutil.which(cxx) is None:
        raise BuildError(
            f"CXX is {cxx!r}, but there is no such program; set it to the name or path of a C++ "
            "compiler, without arguments (e.g. CXX=g++), or unset it"
        )
    return cxx


def cxx_version(cxx):
    """First line of what the C++ compiler says of its version."""
    lines = run([cxx, "--version"]).splitlines()
    if not lines:
        raise BuildError(f"{cxx} --version says nothing; set CXX to a C++ compiler (e.g. CXX=g++)")
    return lines[0]


def find_nvcc():
    """Path of nvcc, or None for a build without CUDA.

    Raises:
        BuildError: `CB_KERAS_CUDA` is 1 and there is none, or it is neither 0 nor 1.
    """
    wanted = os.environ.get("CB_KERAS_CUDA", "")
    if wanted not in ("", "0", "1"):
        raise BuildError(f"CB_KERAS_CUDA must be 0 or 1, got {wanted!r}")
    if wanted == "0":
        return None
    homes = [os.environ.get("CUDA_HOME"), "/usr/local/cuda"]
    candidates = ["nvcc", *(str(pathlib.Path(home, "bin", "nvcc")) for home in homes if home)]
    nvcc = next(filter(None, map(shutil.which, candidates)), None)
    if nvcc is None and wanted == "1":
        raise BuildError(
            "CB_KERAS_CUDA=1, but there is no nvcc; put it on PATH or set CUDA_HOME, "
            "or unset CB_KERAS_CUDA for a library without CUDA kernels"
        )
    return nvcc


def nvcc_version(nvcc):
    """Release of nvcc, such as "12.4.131", and what `CB_KERAS_CUDA_TARGETS` leaves of the GPUs."""
    found = re.search(r"release [\d.]+, V([\d.]+)", run([nvcc, "--version"]))
    release = found.group(1) if found else "unknown"
    chosen = _chosen_targets()
    return f"{release}, for sm_{' sm_'.join(chosen)} alone" if chosen else release


def sanitizers():
    """What `CB_KERAS_SANITIZE` names, e.g. "address,undefined"; "" for an ordinary build."""
    return os.environ.get("CB_KERAS_SANITIZE", "")


def sanitizer_flags(names):
    """Flags for sanitizers as `-fsanitize` takes them; none for ""."""
    return [f"-fsanitize={names}", *_SANITIZER_FLAGS] if names else []


def common_flags(cxx, version):
    """The C++ compiler and the flags that every file is compiled with."""
    common = [cxx, "-std=c++17", "-fPIC", "-Wall", "-Wextra"]
    # GCC 12 warns of what its own intrinsics do.
    gcc = "clang" not in version
    return common + (["-Wno-uninitialized", "-Wno-maybe-uninitialized"] if gcc else [])


def cpu_jobs():
    """`(source, name, flags)` of the CPU kernels, of every instruction set, and what calls them."""
    x86 = platform.machine() in ("x86_64", "AMD64")
    kernels = _X86_KERNELS if x86 else {"baseline": ()}
    jobs = [
        ("cpu/rows.cc", f"rows_{isa}", [*_CPU_FLAGS, *flags, f"-DCBK_ISA={isa}"])
        for isa, flags in kernels.items()
    ]
    callers = "dispatch", "core", "pool", "openmp"
    return [*jobs, *((f"cpu/{name}.cc", name, ["-O3"]) for name in callers)]


def _chosen_targets():
    """The numbers in `CB_KERAS_CUDA_TARGETS`, e.g. "90" or "80,90"; none for all GPUs."""
    text = os.environ.get("CB_KERAS_CUDA_TARGETS", "")
    if text and not re.fullmatch(r"\d+[af]?(,\d+[af]?)*", text):
        raise BuildError(
            f"CB_KERAS_CUDA_TARGETS must be numbers of GPU architectures, got {text!r}; "
            "for an H100 set it to 90, for several e.g. to 80,90"
        )
    return text.split(",") if text else []


def gpu_targets():
    """Flags of nvcc for every GPU that the CUDA kernels are compiled for.

    Raises:
        BuildError: `CB_KERAS_CUDA_TARGETS` are not numbers.
    """
    chosen = _chosen_targets()
    if chosen:  # quicker, for the GPU at hand
        return [f"-gencode=arch=compute_{n},code=sm_{n}" for n in chosen]
    targets = [f"-gencode=arch=compute_{n},code=sm_{n}" for n in _CUDA_MACHINE_CODE]
    return [*targets, f"-gencode=arch=compute_{_CUDA_PTX},code=compute_{_CUDA_PTX}"]


def run(command):
    """What a command prints; its warnings go to stderr.

    Raises:
        BuildError: It can't be run or fails; the message holds the command and what it said.
    """
    command = [str(part) for part in command]
    try:
        # A preloaded sanitizer is for this process, not for the compiler.
        environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
        done = subprocess.run(
            command, capture_output=True, text=True, errors="backslashreplace", env=environment
        )
    except OSError as error:
        raise BuildError(f"{command[0]} can't be run: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise BuildError(f"{shlex.join(command)} failed with status {done.returncode}:\n{said}")
    if done.stderr.strip():
        print(done.stderr.strip(), file=sys.stderr)
    return done.stdout


def run_all(commands):
    """Runs the commands, as many at a time as there are processors."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(run, commands):
            pass
