"""Builds the native libraries from the C++ and CUDA sources of this folder.

Used by `setup.py` and by `python -m cb_keras.fused build`, never by import of the package; it
imports nothing but the standard library.
"""

import os
import pathlib
import tempfile

from . import compilers
from .core import CORE, FOLDER, Core, core_digest, core_sources, interface
from .sealed import describe, description_in, info, is_whole, mark, seal
from .shim import LIBRARY, Toolchain, shim_digest

__all__ = [
    "CORE",
    "FOLDER",
    "LIBRARY",
    "Core",
    "Toolchain",
    "build",
    "compilers",
    "core_digest",
    "core_sources",
    "describe",
    "description_in",
    "interface",
    "is_whole",
    "mark",
    "seal",
    "shim_digest",
]


def build(toolchain, output):
    """Compiles the library of a toolchain to the file `output`, which appears when it is whole.

    Raises:
        compilers.BuildError: A compiler failed; the message holds the command and what it said.
    """
    output = pathlib.Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".building.{output.stem}."
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=prefix) as folder:
        folder = pathlib.Path(folder)
        commands, objects = toolchain.compilations(folder)
        (folder / "info.cc").write_text(info(toolchain.description))
        objects.append(folder / "info.o")
        common = compilers.common_flags(toolchain.cxx, toolchain.cxx_version)
        commands.append([*common, "-c", str(folder / "info.cc"), "-o", str(objects[-1])])
        compilers.run_all(commands)
        library = folder / "library.so"
        compilers.run(toolchain.link(objects, library))
        seal(library)
        os.replace(library, output)
