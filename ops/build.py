"""Builds the op library from the C++ and CUDA sources of this folder.

Used by `setup.py` and by `python -m cb_keras.fused build`, never by import of the package; it
imports nothing but the standard library.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import platform
import re
import tempfile

from . import compilers

FOLDER = pathlib.Path(__file__).parent
CORE = "libcb_keras_core.so"  # the kernels, without any framework
LIBRARY = "libcb_keras_ops.so"  # TensorFlow's ops

# GCC 12 refuses TensorFlow's headers with these ("not a constant expression").
_NOT_IN_TENSORFLOW = "-fno-sanitize=null,nonnull-attribute,returns-nonnull-attribute"
_EXPORTED = "{ global: Cbk*; kCbkBuild; local: *; };\n"  # a version script of the linker
_MARK = b"cb_keras ops library: "  # then a JSON object that describes the build, then NUL


@dataclasses.dataclass(frozen=True)
class Core:
    """What a core library is built with: no framework takes part.

    Attributes:
        cxx: Path of the C++ compiler.
        cxx_version: Its first line of `--version`.
        nvcc: Path of nvcc, or None for a library without CUDA kernels.
        nvcc_version: nvcc's release, or None.
        sanitizers: As `-fsanitize` takes them, "" for none.
    """

    cxx: str
    cxx_version: str
    nvcc: str | None = None
    nvcc_version: str | None = None
    sanitizers: str = ""

    @classmethod
    def find(cls):
        """The machine's compilers, with the variables of `Toolchain.find`.

        Raises:
            compilers.BuildError: As of `Toolchain.find`.
        """
        cxx = compilers.existing_cxx()
        nvcc = compilers.find_nvcc()
        sanitizers = compilers.sanitizers()
        if nvcc and sanitizers:
            raise compilers.BuildError(
                f"CB_KERAS_SANITIZE={sanitizers} is for builds without CUDA: set CB_KERAS_CUDA=0"
            )
        version = compilers.nvcc_version(nvcc) if nvcc else None
        return cls(cxx, compilers.cxx_version(cxx), nvcc, version, sanitizers)

    @property
    def description(self):
        """What the built library says of itself, a dict."""
        return {
            "part": "core",
            "sources": core_digest(),
            "compiler": self.cxx_version,
            "cuda": self.nvcc_version,
            "sanitizers": self.sanitizers,
        }

    @property
    def key(self):
        """Digest of all that makes two libraries differ: 16 hexadecimal digits."""
        return _digest([self.description, platform.machine()])

    def compilations(self, folder):
        """Commands to run, in any order, and the object files that they make."""
        return _kernel_compilations(self, folder)

    def link(self, objects, output):
        """The command that makes the library of its objects."""
        script = output.with_suffix(".map")
        script.write_text(_EXPORTED)
        if self.nvcc:
            linker = [f"-Xlinker=--version-script={script}", f"-Xlinker=-soname={CORE}"]
            linker += ["-Xcompiler=-pthread"]
        else:
            linker = [f"-Wl,--version-script={script},-soname={CORE}", "-pthread"]
        return [*_link(self), *map(str, objects), "-o", str(output), *linker]


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
            compilers.BuildError: There is no usable compiler, or no nvcc where it is insisted on.
        """
        cxx = compilers.existing_cxx()
        nvcc = compilers.find_nvcc()
        sanitizers = compilers.sanitizers()
        if nvcc and sanitizers:
            raise compilers.BuildError(
                f"CB_KERAS_SANITIZE={sanitizers} is for builds without CUDA: set CB_KERAS_CUDA=0"
            )
        return cls(
            cxx=cxx,
            cxx_version=compilers.cxx_version(cxx),
            nvcc=nvcc,
            nvcc_version=compilers.nvcc_version(nvcc) if nvcc else None,
            tensorflow_version=tensorflow.__version__,
            compile_flags=tuple(tensorflow.sysconfig.get_compile_flags()),
            link_flags=tuple(tensorflow.sysconfig.get_link_flags()),
            sanitizers=sanitizers,
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
        return _digest([self.description, flags, platform.machine()])

    def compilations(self, folder):
        """Commands to run, in any order, and the object files that they make."""
        return _compilations(self, folder)

    def link(self, objects, output):
        """The command that makes the library of its objects."""
        return [*_link(self), *map(str, objects), "-o", str(output), *_link_last(self)]


def _digest(content):
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def core_digest():
    """Digest of what the core library is made of: 16 hexadecimal digits."""
    return _digest_of_files(
        path for path in _sources() if FOLDER / "tensorflow" not in path.parents
    )


def sources_digest():
    """Digest of the sources and of the files that hold the flags: 16 hexadecimal digits."""
    return _digest_of_files(_sources())


def _digest_of_files(paths):
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.relative_to(FOLDER).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def description_in(content):
    """What the bytes of a library say of it, a dict, whether or not they are whole; or None.

    Its keys are `tensorflow` (version), `sources` (digest), `compiler`, `cuda` (version or None)
    and `sanitizers` ("" for none).
    """
    found = re.search(re.escape(_MARK) + rb"(\{[^\0]*\})\0", content)
    if not found:
        return None
    try:
        return json.loads(found.group(1))
    except ValueError:
        return None


def is_whole(content):
    """Whether the bytes of a library are those that `seal` has seen."""
    size = len(content) - len(_end(b""))
    return size >= 0 and content[size:] == _end(memoryview(content)[:size])


def describe(library):
    """The description inside a built library, read without loading it; None if it is not whole."""
    content = pathlib.Path(library).read_bytes()
    return description_in(content) if is_whole(content) else None


def build(toolchain, output):
    """Compiles the library to the file `output`, which appears when it is whole.

    Raises:
        compilers.BuildError: A compiler failed; the message holds the command and what it said.
    """
    output = pathlib.Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".building.{output.stem}."
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=prefix) as folder:
        commands, objects = toolchain.compilations(pathlib.Path(folder))
        compilers.run_all(commands)
        library = pathlib.Path(folder, "library.so")
        compilers.run(toolchain.link(objects, library))
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


def _end(content):
    """The end of a library's file: one without it was cut off or changed."""
    return f"\n{hashlib.sha256(content).hexdigest()} ends this cb_keras ops library\n".encode()


def _sources():
    """What the library is made of: what is in check/ is not part of it."""
    kinds = ("*.h", "*.cc", "*.cu", "*.cuh")
    files = [path for kind in kinds for path in FOLDER.rglob(kind)]
    files = [path for path in files if FOLDER / "check" not in path.parents]
    return [*files, FOLDER / "build.py", FOLDER / "compilers.py"]


def _kernel_compilations(toolchain, folder):
    """Those of the kernels, and of XLA's handlers of them."""
    jobs = [
        (source, name, _cpu_flags(toolchain, flags)) for source, name, flags in compilers.cpu_jobs()
    ]
    if (FOLDER / "xla" / "handlers.cc").is_file():
        headers = f"-isystem{FOLDER / 'third_party'}"
        cuda = f"-DCBK_CUDA={int(toolchain.nvcc is not None)}"
        jobs.append(("xla/handlers.cc", "handlers", _cpu_flags(toolchain, ["-O2", headers, cuda])))
    return _commands(toolchain, folder, jobs)


def _compilations(toolchain, folder):
    """Commands to run, in any order, and the object files that they make."""
    jobs = [
        *(
            (source, name, _cpu_flags(toolchain, flags))
            for source, name, flags in compilers.cpu_jobs()
        ),
        *(
            (f"tensorflow/{name}.cc", name, _tensorflow_flags(toolchain))
            for name in ("kernels", "ops", "xla")
        ),
    ]
    return _commands(toolchain, folder, jobs)


def _commands(toolchain, folder, jobs):
    common = compilers.common_flags(toolchain.cxx, toolchain.cxx_version)
    commands, objects = [], []
    for source, name, flags in jobs:
        objects.append(folder / f"{name}.o")
        commands.append([*common, *flags, "-c", str(FOLDER / source), "-o", str(objects[-1])])
    if toolchain.nvcc:
        objects.append(folder / "cuda.o")
        commands.insert(0, _cuda_command(toolchain, objects[-1]))  # the longest first
    objects.append(folder / "info.o")
    info = _write_info(toolchain, folder)
    commands.append([*common, "-c", str(info), "-o", str(objects[-1])])
    return commands, objects


def _cpu_flags(toolchain, flags):
    return [*flags, *compilers.sanitizer_flags(toolchain.sanitizers)]


def _tensorflow_flags(toolchain):
    # TensorFlow's headers are not ours to mend: no warnings from them.
    flags = [flag.replace("-I", "-isystem", 1) for flag in toolchain.compile_flags]
    sanitized = compilers.sanitizer_flags(toolchain.sanitizers)
    not_in_tensorflow = [_NOT_IN_TENSORFLOW] if sanitized else []
    cuda = f"-DCBK_CUDA={int(toolchain.nvcc is not None)}"
    return ["-O2", *flags, cuda, *sanitized, *not_in_tensorflow]


def _cuda_command(toolchain, output):
    return [
        *(
            toolchain.nvcc,
            "-std=c++17",
            "-O3",
            "--threads=0",
            *compilers.gpu_targets(),
            "-Xcompiler=-fPIC",
        ),
        *(f"-ccbin={toolchain.cxx}", "-c", str(FOLDER / "cuda" / "class_balanced_loss.cu")),
        *("-o", str(output)),
    ]


def _write_info(toolchain, folder):
    """A source file that puts the description into the library."""
    info = folder / "info.cc"
    text = _MARK.decode() + json.dumps(toolchain.description)
    # The double declaration gives a constant external linkage, so that it stays in the library.
    info.write_text(
        f'extern "C" {{ extern const char kCbkBuild[];\n'
        f"const char kCbkBuild[] = {json.dumps(text)}; }}\n"
    )
    return info


def _link(toolchain):
    # cudart goes in whole, so that the library loads where there is no CUDA.
    if toolchain.nvcc:
        return [toolchain.nvcc, "-shared", f"-ccbin={toolchain.cxx}", "-cudart=static"]
    return [toolchain.cxx, "-shared", *compilers.sanitizer_flags(toolchain.sanitizers)]


def _link_last(toolchain):
    if not toolchain.nvcc:
        return toolchain.link_flags
    return [flag if flag.startswith("-L") else f"-Xlinker={flag}" for flag in toolchain.link_flags]
