"""Build of the package: pyproject.toml describes it, this lists its files and builds the op.

The library is optional. It is built where there is a C++ compiler and the environment has
TensorFlow already; elsewhere the package is installed without it and computes its losses with
keras.ops, until `python -m cb_keras.fused build`. `CB_KERAS_FUSED=0` leaves it out on purpose; 1
builds it everywhere, and makes a failure an error.
"""

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import pathlib
import sys
import sysconfig

from setuptools import Extension, find_packages, setup
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
    sources = [path for path in (ROOT / "ops").iterdir() if path.is_dir() and path.name.isalpha()]
    sources = sorted(path.name for path in sources if path.name != "check")
    return [
        *find_packages(ROOT, include=["cb_keras", "cb_keras.*"]),
        *("cb_keras._ops", *(f"cb_keras._ops.{name}" for name in sources)),
    ]


class BuildOps(build_ext):
    """Builds the op library in place of a Python extension module."""

    def get_ext_filename(self, fullname):
        """Name of the library, in the folder of its package."""
        return os.path.join(*fullname.split(".")[:-1], ops_build().LIBRARY)

    def build_extension(self, ext):
        """Compiles, with the TensorFlow of the build environment."""
        builder = ops_build()
        try:
            import tensorflow

            builder.build(builder.Toolchain.find(tensorflow), self.get_ext_fullpath(ext.name))
        except (ImportError, OSError, builder.compilers.BuildError) as error:
            raise CompileError(f"the fused op was not built: {error}") from error


def tensorflow_is_here():
    """Whether the environment that is installed into has TensorFlow; pip hides it from builds."""
    folders = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    return any(pathlib.Path(folder, "tensorflow").is_dir() for folder in folders)


def wanted_tensorflow():
    """The TensorFlow to build with: the installed one, since the op belongs to one version."""
    folders = [sysconfig.get_path(kind) for kind in ("purelib", "platlib")]
    found = importlib.metadata.distributions(name="tensorflow", path=folders)
    return next((f"tensorflow=={one.version}" for one in found), "tensorflow>=2.19,<2.22")


def can_build():
    """Whether the op is built by default: where TensorFlow is installed and there is a compiler."""
    return tensorflow_is_here() and ops_build().compilers.find_cxx() is not None


fused = WANTED == "1" or (WANTED == "" and can_build())
setup(
    packages=packages(),
    package_dir={"cb_keras._ops": "ops"},
    ext_modules=[Extension("cb_keras.ops_library", [], optional=WANTED != "1")] if fused else [],
    cmdclass={"build_ext": BuildOps},
    # For its headers, in pip's build environment.
    setup_requires=[wanted_tensorflow()] if fused else [],
)
