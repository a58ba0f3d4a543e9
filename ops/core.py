"""The core library: the kernels, and XLA's handlers of them, without any framework."""

import dataclasses
import pathlib
import platform

from . import compilers
from .sealed import digest, digest_of_files

FOLDER = pathlib.Path(__file__).parent
CORE = "libcb_keras_core.so"
_EXPORTED = "{ global: Cbk*; kCbkBuild; local: *; };\n"  # a version script of the linker


@dataclasses.dataclass(frozen=True)
class Core:
    """What a core library is built with.

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
        """The machine's compilers.

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
        version = compilers.nvcc_version(nvcc) if nvcc else None
        return cls(cxx, compilers.cxx_version(cxx), nvcc, version, sanitizers)

    @property
    def description(self):
        """What the built library says of itself, a dict."""
        return {
            "part": "core",
            "sources": core_digest(),
            "interface": interface(self.nvcc is not None, self.sanitizers),
            "compiler": self.cxx_version,
            "cuda": self.nvcc_version,
            "sanitizers": self.sanitizers,
        }

    @property
    def key(self):
        """Digest of all that makes two libraries differ: 16 hexadecimal digits."""
        return digest([self.description, platform.machine()])

    def compilations(self, folder):
        """Commands to run, in any order, and the object files that they make."""
        sanitized = compilers.sanitizer_flags(self.sanitizers)
        cuda = f"-DCBK_CUDA={int(self.nvcc is not None)}"
        handlers = ["-O2", f"-isystem{FOLDER / 'third_party'}", cuda]
        jobs = [*compilers.cpu_jobs(), ("xla/handlers.cc", "handlers", handlers)]
        common = compilers.common_flags(self.cxx, self.cxx_version)
        commands, objects = [], []
        for source, name, flags in jobs:
            objects.append(folder / f"{name}.o")
            flags = [*flags, *sanitized, "-c", str(FOLDER / source), "-o", str(objects[-1])]
            commands.append([*common, *flags])
        if self.nvcc:
            objects.append(folder / "cuda.o")
            commands.insert(0, self._cuda_command(objects[-1]))  # the longest first
        return commands, objects

    def _cuda_command(self, output):
        return [
            *(
                self.nvcc,
                "-std=c++17",
                "-O3",
                "--threads=0",
                *compilers.gpu_targets(),
                "-Xcompiler=-fPIC",
            ),
            *(f"-ccbin={self.cxx}", "-c", str(FOLDER / "cuda" / "class_balanced_loss.cu")),
            *("-o", str(output)),
        ]

    def link(self, objects, output):
        """The command that makes the library of its objects.

        With the shared libstdc++: GCC 12's static one asks for a newer glibc (2.36 instead of
        2.32), and a framework has loaded the other anyway.
        """
        script = output.with_suffix(".map")
        script.write_text(_EXPORTED)
        name = soname(self.description["interface"])
        # Its threads sleep in its code, so it is never taken out of memory.
        own = [f"--version-script={script}", f"-soname={name}", "-znodelete"]
        # cudart goes in whole, so that the library loads where there is no CUDA.
        if self.nvcc:
            first = [self.nvcc, "-shared", f"-ccbin={self.cxx}", "-cudart=static"]
            last = [*(f"-Xlinker={flag}" for flag in own), "-Xcompiler=-pthread"]
        else:
            first = [self.cxx, "-shared", *compilers.sanitizer_flags(self.sanitizers)]
            last = [*(f"-Wl,{flag}" for flag in own), "-pthread"]
        return [*first, *map(str, objects), "-o", str(output), *last]


def core_digest():
    """Digest of what the core library is made of: 16 hexadecimal digits."""
    return digest_of_files(core_sources(), FOLDER)


def core_sources():
    """The files that the core is made of, and those that hold the flags."""
    folders = [FOLDER, *(FOLDER / name for name in ("cpu", "cuda", "xla"))]
    files = [path for folder in folders for path in folder.glob("*.*")]
    files += (FOLDER / "third_party").rglob("*.h")
    kinds = (".h", ".cc", ".cu", ".cuh")
    own = [FOLDER / f"{name}.py" for name in ("compilers", "core", "sealed")]
    return [*(path for path in files if path.suffix in kinds), *own]


def interface(cuda, sanitizers):
    """Digest of what others see of a core library, with CUDA kernels or without.

    A library that is linked with a core asks for one with this digest in its name, and the linker
    finds no other.
    """
    seen = [*FOLDER.glob("*.h"), *(FOLDER / "xla").glob("*.*")]
    return digest([digest_of_files(seen, FOLDER), cuda, sanitizers])


def soname(interface):
    """What the linker calls a core library."""
    return f"libcb_keras_core.{interface}.so"
