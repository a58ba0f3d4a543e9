"""Builds the op library from the C++ and CUDA sources beside this file.

Used by `setup.py` and by `python -m cb_keras.fused build`, never by import of the package; it
imports nothing but the standard library. On its own it builds the stand-alone check of the CPU
kernels: `python ops/build.py SANITIZERS OUTPUT`, e.g. `address,undefined build/check`.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

FOLDER = pathlib.Path(__file__).parent
LIBRARY = "libcb_keras_ops.so"

_CPU_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd")
# What the sanitizers see is the source's own, so little is optimised away.
_SANITIZER_FLAGS = ("-O1", "-g1", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all")
# GCC 12 refuses TensorFlow's headers with these ("not a constant expression").
_NOT_IN_TENSORFLOW = "-fno-sanitize=null,nonnull-attribute,returns-nonnull-attribute"
# Instruction set -> what its copy of the row kernels is compiled with.
_X86_KERNELS = {
    "baseline": ("-march=x86-64",),
    "avx2": ("-march=x86-64-v3",),
    "avx512": ("-march=x86-64-v4", "-mprefer-vector-width=512"),
}
_CUDA_MACHINE_CODE = ("75", "80", "86", "89", "90")
_CUDA_PTX = "90"  # for GPUs that are newer than all of the above
_MARK = b"cb_keras ops library: "  # then a JSON object that describes the build, then NUL


class BuildError(Exception):
    """The library can't be built; the message says why and what would help."""


@dataclasses.dataclass(frozen=True)
class Toolchain:
    """What a library is built with and for.

    Attributes:
        cxx: Path of the C++ compiler.
        cxx_version: Its first line of `--version`.
        nvcc: Path of nvcc, or None for a library without CUDA kernels.
        nvcc_version: nvcc's release, or None.
        tensorflow_version: Version of TensorFlow.
        compile_flags: TensorFlow's, a tuple.
        link_flags: TensorFlow's, a tuple.
        sanitizers: As `-fsanitize` takes them, "" for none.
    """

    cxx: str
    cxx_version: str
    nvcc: str | None
    nvcc_version: str | None
    tensorflow_version: str
    compile_flags: tuple
    link_flags: tuple
    sanitizers: str = ""

    @classmethod
    def find(cls, tensorflow):
        """The machine's compilers, for the TensorFlow module given.

        `CXX` names the C++ compiler; `CB_KERAS_CUDA=1` insists on nvcc, 0 does without it;
        `CB_KERAS_SANITIZE` names sanitizers.

        Raises:
            BuildError: There is no usable compiler, or no nvcc where it is insisted on.
        """
        cxx = _existing_cxx()
        nvcc = find_nvcc()
        if nvcc and sanitizers():
            raise BuildError(
                f"CB_KERAS_SANITIZE={sanitizers()} is for builds without CUDA: set CB_KERAS_CUDA=0"
            )
        return cls(
            cxx=cxx,
            cxx_version=_cxx_version(cxx),
            nvcc=nvcc,
            nvcc_version=_nvcc_version(nvcc) if nvcc else None,
            tensorflow_version=tensorflow.__version__,
            compile_flags=tuple(tensorflow.sysconfig.get_compile_flags()),
            link_flags=tuple(tensorflow.sysconfig.get_link_flags()),
            sanitizers=sanitizers(),
        )

    @property
    def description(self):
        """What the built library says of itself, a dict."""
        return {
            "tensorflow": self.tensorflow_version,
            "sources": sources_digest(),
            "compiler": self.cxx_version,
            "cuda": self.nvcc_version,
            "sanitizers": self.sanitizers,
        }

    @property
    def key(self):
        """Digest of all that makes two libraries differ: 16 hexadecimal digits."""
        flags = [
            flag
            for flag in (*self.compile_flags, *self.link_flags)
            if not flag.startswith(("-I", "-L"))  # folders say nothing about what is in them
        ]
        content = json.dumps([self.description, flags, platform.machine()], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def find_cxx():
    """Path of the C++ compiler, or None; what `CXX` names is returned even if it is not there."""
    chosen = os.environ.get("CXX")
    if chosen:
        return shutil.which(chosen) or chosen
    return next(filter(None, map(shutil.which, ["g++", "clang++"])), None)


def sanitizers():
    """What `CB_KERAS_SANITIZE` names, e.g. "address,undefined"; "" for an ordinary build."""
    return os.environ.get("CB_KERAS_SANITIZE", "")


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


def sources_digest():
    """Digest of the sources and of this file, which holds the flags: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in sorted(_sources()):
        digest.update(path.relative_to(FOLDER).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def describe(library):
    """The description inside a built library, read without loading it; None if it is not whole.

    Returns:
        Dict of `tensorflow` (version), `sources` (digest), `compiler`, `cuda` (version or None)
        and `sanitizers` ("" for none).
    """
    content = pathlib.Path(library).read_bytes()
    size = len(content) - len(_end(b""))
    found = re.search(re.escape(_MARK) + rb"(\{[^\0]*\})\0", content)
    if not found or content[size:] != _end(memoryview(content)[:size]):
        return None
    try:
        return json.loads(found.group(1))
    except ValueError:
        return None


def build(toolchain, output):
    """Compiles the library to the file `output`, which appears when it is whole.

    Raises:
        BuildError: A compiler failed; the message holds the command and what it said.
    """
    output = pathlib.Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".building.{output.stem}."
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=prefix) as folder:
        commands, objects = _compilations(toolchain, pathlib.Path(folder))
        _run_all(commands)
        library = pathlib.Path(folder, LIBRARY)
        _run([*_link(toolchain), *map(str, objects), "-o", str(library), *_link_last(toolchain)])
        seal(library)
        os.replace(library, output)


def seal(library):
    """Ends the file with a digest of all that is in it, and waits until it is on the disk."""
    content = library.read_bytes()
    with open(library, "ab") as file:
        file.write(_end(content))
        file.flush()
        os.fsync(file.fileno())
    library.chmod(0o755 & library.stat().st_mode)  # a file that others can write to is not loaded


def build_check(output, sanitizers):
    """Compiles the stand-alone check of the CPU kernels, under sanitizers, to the file `output`.

    Raises:
        BuildError: There is no compiler, or it failed.
    """
    cxx = _existing_cxx()
    common = _common_flags(cxx, _cxx_version(cxx))
    flags = [f"-fsanitize={sanitizers}", *_SANITIZER_FLAGS]
    output = pathlib.Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".building.") as folder:
        jobs = [*_cpu_jobs(), ("cpu_check.cc", "check", [])]
        objects = [pathlib.Path(folder, f"{name}.o") for _, name, _ in jobs]
        _run_all(
            [*common, *own, *flags, "-c", str(FOLDER / source), "-o", str(target)]
            for (source, _, own), target in zip(jobs, objects, strict=True)
        )
        _run([cxx, *flags, "-pthread", *objects, "-o", str(output)])


def _end(content):
    """The end of a library's file: one without it was cut off or changed."""
    return f"\n{hashlib.sha256(content).hexdigest()} ends this cb_keras ops library\n".encode()


def _sources():
    """What the library is made of: the checks, which stand beside it, are left out."""
    kinds = ("*.h", "*.cc", "*.cu", "*.cuh")
    files = [path for kind in kinds for path in FOLDER.rglob(kind)]
    checks = ("cpu_check.cc", "cuda_check.cu")
    files = [path for path in files if path.name not in checks and path.parent.name != "check"]
    return [*files, FOLDER / "build.py"]


def _existing_cxx():
    """Path of the C++ compiler, or BuildError."""
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


def _cxx_version(cxx):
    lines = _run([cxx, "--version"]).splitlines()
    if not lines:
        raise BuildError(f"{cxx} --version says nothing; set CXX to a C++ compiler (e.g. CXX=g++)")
    return lines[0]


def _common_flags(cxx, version):
    """The compiler and the flags that every file is compiled with."""
    common = [cxx, "-std=c++17", "-fPIC", "-Wall", "-Wextra"]
    # GCC 12 warns of what its own intrinsics do.
    gcc = "clang" not in version
    return common + (["-Wno-uninitialized", "-Wno-maybe-uninitialized"] if gcc else [])


def _cpu_jobs():
    """`(source, name, flags)` of the CPU kernels, of every instruction set, and their choice."""
    x86 = platform.machine() in ("x86_64", "AMD64")
    kernels = _X86_KERNELS if x86 else {"baseline": ()}
    jobs = [
        ("cpu/rows.cc", f"rows_{isa}", [*_CPU_FLAGS, *flags, f"-DCBK_ISA={isa}"])
        for isa, flags in kernels.items()
    ]
    return [*jobs, ("cpu/dispatch.cc", "dispatch", ["-O3"])]


def _compilations(toolchain, folder):
    """Commands to run, in any order, and the object files that they make."""
    common = _common_flags(toolchain.cxx, toolchain.cxx_version)
    # TensorFlow's headers are not ours to mend: no warnings from them.
    tensorflow = [flag.replace("-I", "-isystem", 1) for flag in toolchain.compile_flags]
    tensorflow = ["-O2", *tensorflow, f"-DCBK_CUDA={int(toolchain.nvcc is not None)}"]
    sanitized = _sanitizer_flags(toolchain)
    not_in_tensorflow = [_NOT_IN_TENSORFLOW] if sanitized else []
    jobs = [(source, name, [*flags, *sanitized]) for source, name, flags in _cpu_jobs()]
    jobs += [
        (f"tensorflow/{name}.cc", name, [*tensorflow, *sanitized, *not_in_tensorflow])
        for name in ("kernels", "ops", "xla")
    ]
    commands, objects = [], []
    for source, name, flags in jobs:
        objects.append(folder / f"{name}.o")
        commands.append([*common, *flags, "-c", str(FOLDER / source), "-o", str(objects[-1])])
    if toolchain.nvcc:
        objects.append(folder / "cuda.o")
        commands.insert(0, _cuda_command(toolchain, objects[-1]))  # the longest first
    info = folder / "info.cc"
    text = _MARK.decode() + json.dumps(toolchain.description)
    # The double declaration gives a constant external linkage, so that it stays in the library.
    info.write_text(
        f'extern "C" {{ extern const char kCbkBuild[];\n'
        f"const char kCbkBuild[] = {json.dumps(text)}; }}\n"
    )
    objects.append(folder / "info.o")
    commands.append([*common, "-c", str(info), "-o", str(objects[-1])])
    return commands, objects


def _sanitizer_flags(toolchain):
    return [f"-fsanitize={toolchain.sanitizers}", *_SANITIZER_FLAGS] if toolchain.sanitizers else []


def _cuda_command(toolchain, output):
    targets = [f"-gencode=arch=compute_{n},code=sm_{n}" for n in _CUDA_MACHINE_CODE]
    targets.append(f"-gencode=arch=compute_{_CUDA_PTX},code=compute_{_CUDA_PTX}")
    return [
        *(toolchain.nvcc, "-std=c++17", "-O3", "--threads=0", *targets, "-Xcompiler=-fPIC"),
        *(f"-ccbin={toolchain.cxx}", "-c", str(FOLDER / "cuda" / "class_balanced_loss.cu")),
        *("-o", str(output)),
    ]


def _link(toolchain):
    # cudart goes in whole, so that the library loads where there is no CUDA.
    if toolchain.nvcc:
        return [toolchain.nvcc, "-shared", f"-ccbin={toolchain.cxx}", "-cudart=static"]
    return [toolchain.cxx, "-shared", *_sanitizer_flags(toolchain)]


def _link_last(toolchain):
    if not toolchain.nvcc:
        return toolchain.link_flags
    return [flag if flag.startswith("-L") else f"-Xlinker={flag}" for flag in toolchain.link_flags]


def _nvcc_version(nvcc):
    found = re.search(r"release [\d.]+, V([\d.]+)", _run([nvcc, "--version"]))
    return found.group(1) if found else "unknown"


def _run_all(commands):
    """Runs the commands, as many at a time as there are processors."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(_run, commands):
            pass


def _run(command):
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


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python ops/build.py SANITIZERS OUTPUT")
    try:
        build_check(output=sys.argv[2], sanitizers=sys.argv[1])
    except BuildError as error:
        sys.exit(f"error: {error}")
