"""What leaves a training run: adding an export is a file here and its name in `_FILES`.

What it writes is also listed in `_CONTENT` of `runs/directory.py`, with the rest of a run's files.
"""

import functools
import importlib

# Each has `export(model, path, description)`, which writes the network to a file or folder of that
# name in the run directory, and imports no program.
_FILES = ("saved_model",)
NEEDED = ("saved_model",)  # metrics.json is measured on it


def _export(name, model, path, description):
    """Writes `model` as the file `name` of this folder does; it imports the framework."""
    importlib.import_module(f"experiments.exports.{name}").export(model, path, description)


EXPORTS = {name: functools.partial(_export, name) for name in _FILES}


def problems(names):
    """What is wrong with the values of `--exports`, a line each."""
    for name in names:
        if name not in EXPORTS:
            yield f"--exports={name} is unknown; there are {', '.join(EXPORTS)}."
    for name in NEEDED:
        if name not in names:
            yield f"--exports must hold {name}, which the figures of a run are measured on."
