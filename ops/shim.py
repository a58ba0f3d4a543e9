"""TensorFlow's library of ops, which uses a core library and belongs to one TensorFlow."""

import dataclasses
import pathlib
import platform

from . import compilers
from .sealed import describe, digest, digest_of_files

FOLDER = pathlib.Path(__file__).parent
LIBRARY = "libcb_keras_ops.so"

# GCC 12 refuses TensorFlow's headers with these ("not a constant expression").
_NOT_IN_TENSORFLOW = "-fno-sanitize=null,nonnull-attribute,returns-nonnull-attribute"


@dataclasses.dataclass(frozen=True)
class Toolchain:
    """What a library is built with and for.

    Attributes:
        cxx: Path of the C++ compiler.
        cxx_version: Its first line of `--version`.
        core: Path of the core library.
        interface: That of the core library, see `core.interface`.
        cuda: The CUDA version of the core library, or None.
        tensorflow_version: Version of TensorFlow.
        compile_flags: TensorFlow's, a tuple.
        link_flags: TensorFlow's, a tuple.
        sanitizers: As `-fsanitize` takes them, "" for none.
    """

    cxx: str
    cxx_version: str
    core: str
    interface: str
    cuda: str | None
    tensorflow_version: str
    compile_flags: tuple
    link_flags: tuple
    sanitizers: str = ""

    @classmethod
    def find(cls, tensorflow, core):
        """The machine's compiler, for the TensorFlow module and the core library given.

        `CXX` names the C++ compiler. CUDA and the sanitizers are those of the core library.

        Raises:
            compilers.BuildError: There is no usable compiler, or the core library is none.
        """
        cxx = compilers.existing_cxx()
        found = describe(core)
        if found is None or found.get("part") != "core":
            raise compilers.BuildError(f"{core} is damaged or no core library; build it again")
        return cls(
            cxx=cxx,
            cxx_version=compilers.cxx_version(cxx),
            core=str(core),
            interface=found["interface"],
            cuda=found["cuda"],
            tensorflow_version=tensorflow.__version__,
            compile_flags=tuple(tensorflow.sysconfig.get_compile_flags()),
            link_flags=tuple(tensorflow.sysconfig.get_link_flags()),
            sanitizers=found["sanitizers"],
        )

    @property
    def description(self):
        """What the built library says of itself, a dict."""
        return {
            "part": "tensorflow",
            "tensorflow": self.tensorflow_version,
            "sources": shim_digest(),
            "interface": self.interface,
            "compiler": self.cxx_version,
            "cuda": self.cuda,
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
        return digest([self.description, flags, platform.machine()])

    def compilations(self, folder):
        """Commands to run, in any order, and the object files that they make."""
        common = compilers.common_flags(self.cxx, self.cxx_version)
        commands, objects = [], []
        for name, flags in self._sources():
            objects.append(folder / f"{name}.o")
            source = str(FOLDER / "tensorflow" / f"{name}.cc")
            commands.append([*common, *flags, "-c", source, "-o", str(objects[-1])])
        return commands, objects

    def _sources(self):
        """Names of files in tensorflow/, each with its flags; the one that takes longest first."""
        sanitized = compilers.sanitizer_flags(self.sanitizers)
        own = ["-O2", f"-DCBK_CUDA={int(self.cuda is not None)}", *sanitized]
        xla = _has_known_xla(self.tensorflow_version)
        # TensorFlow's headers are not ours to mend: no warnings from them.
        flags = [flag.replace("-I", "-isystem", 1) for flag in self.compile_flags]
        flags = [
            *own,
            *flags,
            f"-DCBK_XLA={int(xla)}",
            *([_NOT_IN_TENSORFLOW] if sanitized else []),
        ]
        sources = [(name, flags) for name in ("kernels", "ops", "refusals")]
        if xla:
            sources.insert(0, ("xla", [*flags, *self._xla_headers()]))
            # XLA's headers of the handlers, not TensorFlow's, which may be newer.
            sources.append(("handlers", [*own, f"-isystem{FOLDER / 'third_party'}"]))
        return sources

    def _xla_headers(self):
        """Where TensorFlow's package has what its headers of XLA include."""
        folders = [flag[2:] for flag in self.compile_flags if flag.startswith("-I")]
        parts = ("highwayhash", "farmhash_archive/src")
        return [f"-isystem{folder}/external/{part}" for folder in folders for part in parts]

    def link(self, objects, output):
        """The command that makes the library of its objects.

        It is linked with the core library by that one's `soname`: the linker takes the core that
        the process has loaded, which must have the same interface, and looks for no file of it.
        """
        first = [self.cxx, "-shared", *compilers.sanitizer_flags(self.sanitizers)]
        last = list(self.link_flags)
        if _has_known_xla(self.tensorflow_version):
            last.append("-l:libtensorflow_cc.so.2")  # with the classes that tensorflow/xla.cc uses
        return [*first, *map(str, objects), self.core, "-o", str(output), *last]


def _has_known_xla(tensorflow_version):
    """Whether this TensorFlow is known to have what tensorflow/xla.cc needs.

    2.19 has not: its headers of XLA include some of LLVM, which are not in its package.
    """
    return tensorflow_version.startswith(("2.20.", "2.21."))


def shim_digest():
    """Digest of what is compiled here, core apart, and of the flags: 16 hexadecimal digits."""
    own = [FOLDER / f"{name}.py" for name in ("compilers", "sealed", "shim")]
    sources = [*FOLDER.glob("*.h"), *(FOLDER / "tensorflow").glob("*.*")]
    sources += (FOLDER / "third_party").rglob("*.h")
    return digest_of_files([*sources, *own], FOLDER)
