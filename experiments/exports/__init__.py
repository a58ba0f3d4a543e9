"""What leaves a training run: adding an export is a file here and its name in `_FILES`.

What it writes is also listed in `_CONTENT` of `runs/directory.py`, with the rest of a run's files.
"""

import functools
import importlib
import importlib.util

# Each has `export(model, path, description)`, which writes the network to a file or folder of that
# name in the run directory, and imports no program.
_FILES = ("saved_model",)
# What metrics.json is measured on, by the backend of Keras; "model.keras" is always written. On
# another backend TensorFlow writes its exports in a process of its own.
_MEASURED = {"tensorflow": "saved_model"}
_KERAS_FILE = "model.keras"


def _export(name, model, path, description):
    """Writes `model` as the file `name` of this folder does; it imports the framework."""
    import keras

    if keras.config.backend() not in _MEASURED:
        from experiments.exports import by_tensorflow

        return by_tensorflow.export(name, model, path, description)
    importlib.import_module(f"experiments.exports.{name}").export(model, path, description)


EXPORTS = {name: functools.partial(_export, name) for name in _FILES}


def measured_file(backend):
    """Name of what `metrics.json` is measured on, in the run directory, with a Keras backend."""
    return _MEASURED.get(backend, _KERAS_FILE)


def chosen(names, backend):
    """Names of the exports to write: those that `--exports` gives, else what is measured."""
    if names is not None:
        return names
    return [_MEASURED[backend]] if backend in _MEASURED else []


def problems(names, backend):
    """What is wrong with the values of `--exports`, a line each.

    Args:
        names: List of them, or None where the flag is not given.
        backend: Keras' backend.
    """
    for name in names or ():
        if name not in EXPORTS:
            yield f"--exports={name} is unknown; there are {', '.join(EXPORTS)}."
        elif backend not in _MEASURED and importlib.util.find_spec("tensorflow") is None:
            yield (
                f"--exports={name} is written by TensorFlow, which is not installed: leave it out, "
                f"{_KERAS_FILE} is always written; or pip install 'cb_keras[tensorflow]'."
            )
    needed = _MEASURED.get(backend)
    if names is not None and needed and needed not in names:
        yield f"--exports must hold {needed}, which the figures of a run are measured on."
