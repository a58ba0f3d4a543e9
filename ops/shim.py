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
        # TensorFlow's headers are not ours to mend: no warnings from them.
        flags = [flag.replace("-I", "-isystem", 1) for flag in self.compile_flags]
        sanitized = compilers.sanitizer_flags(self.sanitizers)
        not_in_tensorflow = [_NOT_IN_TENSORFLOW] if sanitized else []
        cuda = f"-DCBK_CUDA={int(self.cuda is not None)}"
        flags = ["-O2", *flags, cuda, *sanitized, *not_in_tensorflow]
        common = compilers.common_flags(self.cxx, self.cxx_version)
        commands, objects = [], []
        for name in ("kernels", "ops", "xla"):
            objects.append(folder / f"{name}.o")
            source = str(FOLDER / "tensorflow" / f"{name}.cc")
            commands.append([*common, *flags, "-c", source, "-o", str(objects[-1])])
        return commands, objects

    def link(self, objects, output):
        """The command that makes the library of its objects.

        It is linked with the core library by that one's `soname`: the linker takes the core that
        the process has loaded, which must have the same interface, and looks for no file of it.
        """
        first = [self.cxx, "-shared", *compilers.sanitizer_flags(self.sanitizers)]
        return [*first, *map(str, objects), self.core, "-o", str(output), *self.link_flags]


def shim_digest():
    """Digest of what is compiled here, core apart, and of the flags: 16 hexadecimal digits."""
    own = [FOLDER / f"{name}.py" for name in ("compilers", "sealed", "shim")]
    sources = [*FOLDER.glob("*.h"), *(FOLDER / "tensorflow").glob("*.*")]
    return digest_of_files([*sources, *own], FOLDER)
