"""Found in the place of the package by `python experiments/NAME.py`: says how to start a program.

Python then looks for modules in this folder first, where those named as others' would hide them.
"""

import pathlib
import sys

sys.exit(
    "error: the programs are modules: from the root of the clone, python -m experiments."
    + pathlib.Path(sys.argv[0]).stem
)
