"""Build of the package: pyproject.toml describes it, this lists its files and builds the core.

The core library of the fused op is optional: it is built where there is a C++ compiler. Elsewhere
the package is installed without it and computes its losses with keras.ops, until
`python -m cb_keras.fused build`. `CB_KERAS_FUSED=0` leaves it out on purpose; 1 makes it an error
that it can't be built. It needs nothing but the compiler, and no Python is in it.
"""

import functools
import importlib
import importlib.util
import os
import pathlib
import sys

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

ROOT = pathlib.Path(__file__).parent
WANTED = os.environ.get("CB_KERAS_FUSED", "")
if WANTED not in ("", "0", "1"):
    sys.exit(f"CB_KERAS_FUSED must be 0 or 1, got {WANTED!r}")


@functools.cache
def ops_build():
    """The module ops.build; by path, since the folder of setup.py is not where imports look."""
    spec = importlib.util.spec_from_file_location("ops", ROOT / "ops" / "__init__.py")
    package = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return importlib.import_module("ops.build")


def packages():
    """The library, and the op's sources, so that `python -m cb_keras.fused build` has them.

    The checks of the kernels stay in the clone.
    """
    folders = sorted({path.parent for path in (ROOT / "ops").rglob("*.*") if path.is_file()})
    sources = [folder.relative_to(ROOT / "ops").parts for folder in folders]
    return [
        *find_packages(ROOT, include=["cb_keras", "cb_keras.*"]),
        *(
            ".".join(("cb_keras._ops", *parts))
            for parts in sources
            if not {"check", "__pycache__"} & {*parts}
        ),
    ]


class BuildCore(build_ext):
    """Builds the core library in place of a Python extension module."""

    def get_ext_filename(self, fullname):
        """Name of the library, in the folder of its package."""
        return os.path.join(*fullname.split(".")[:-1], ops_build().CORE)

    def build_extension(self, ext):
        """Compiles it."""
        ops = ops_build()
        try:
            ops.build(ops.Core.find(), self.get_ext_fullpath(ext.name))
        except (OSError, ops.compilers.BuildError) as error:
            raise CompileError(f"the fused op was not built: {error}") from error


class AnyPython(bdist_wheel):
    """A wheel for a kind of machine and any Python 3: its library has no Python in it."""

    def get_tag(self):
        """Python, its binary interface, the machine."""
        _, _, machine = super().get_tag()
        return "py3", "none", machine


fused = WANTED == "1" or (WANTED == "" and ops_build().compilers.find_cxx() is not None)
setup(
    packages=packages(),
    package_dir={"cb_keras._ops": "ops"},
    ext_modules=[Extension("cb_keras.core_library", [], optional=WANTED != "1")] if fused else [],
    cmdclass={"build_ext": BuildCore, "bdist_wheel": AnyPython},
)
