"""The sources of the native libraries, and the module that builds them."""

import functools
import importlib
import importlib.util
import pathlib
import sys
from typing import Any

PACKAGE = pathlib.Path(__file__).parent.parent
MISSING = "its sources are not there; install cb_keras again, or take it from a clone"
BUILD_COMMAND = "python -m cb_keras.fused build"


@functools.cache
def builder() -> Any:
    """The module ops.build, of the installed package or of the clone; None without the sources."""
    folders = [PACKAGE / "_ops", PACKAGE.parent / "ops"]
    folder = next((folder for folder in folders if (folder / "build.py").is_file()), None)
    return None if folder is None else load_builder(folder)


def load_builder(folder: pathlib.Path, name: str = "cb_keras._ops") -> Any:
    """The module `build` of a folder of sources, which becomes the package `name`.

    By path, so that it is this package's own: `import cb_keras._ops` in a clone could find another
    clone, of which there is an editable installation.
    """
    spec: Any = importlib.util.spec_from_file_location(name, folder / "__init__.py")
    package = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return importlib.import_module(f"{name}.build")


def printable(text: str) -> str:
    """The text with what is not UTF-8 (in a path) as escapes: it could not be printed."""
    return text.encode(errors="backslashreplace").decode()
