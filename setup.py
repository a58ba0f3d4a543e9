"""Build of the package: pyproject.toml says what is in it, this builds the op library.

The library is optional: where it can't be built the package is installed without it and computes
its losses with keras.ops. `CB_KERAS_FUSED=0` leaves it out on purpose, 1 makes a failure an error.
"""

import importlib.util
import os
import pathlib
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

ROOT = pathlib.Path(__file__).parent
WANTED = os.environ.get("CB_KERAS_FUSED", "")
if WANTED not in ("", "0", "1"):
    sys.exit(f"CB_KERAS_FUSED must be 0 or 1, got {WANTED!r}")


def ops_build():
    """The module ops/build.py, which no package contains while this one is being built."""
    spec = importlib.util.spec_from_file_location("ops_build", ROOT / "ops" / "build.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


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
        except (ImportError, OSError, builder.BuildError) as error:
            raise CompileError(f"the fused op was not built: {error}") from error


fused = WANTED != "0" and (WANTED == "1" or ops_build().find_cxx() is not None)
setup(
    ext_modules=[Extension("cb_keras.ops_library", [], optional=WANTED != "1")] if fused else [],
    cmdclass={"build_ext": BuildOps},
    # The headers of the TensorFlow that the package will be installed beside.
    setup_requires=["tensorflow>=2.21,<2.22"] if fused else [],
)
