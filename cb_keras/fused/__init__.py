"""Door to the fused op: finds it, builds it, says why not. It is never required.

`python -m cb_keras.fused status` says in one line whether the op is in use and why;
`python -m cb_keras.fused build` builds it for this machine's TensorFlow. The library is looked for
next to the package, where `pip install` puts it if TensorFlow and a C++ compiler are there already,
and in the folder of `cb_keras.fused.cache`, `$CB_KERAS_CACHE` or `~/.cache/cb_keras`, where `build`
puts it.

A graph that holds the op loads only in a process that has it. What is traced for a SavedModel or an
export takes keras.ops instead, but a concrete function is saved as it was traced: give a loss that
goes into one `fused=False`, or call `cb_keras.fused.load()` before `tf.saved_model.load`. On JAX
what jax.export makes never holds the op, whatever was traced before.
"""

from types import ModuleType

import keras

from cb_keras.fused.availability import available, build, compiles, load, status
from cb_keras.fused.errors import FusedOpError
from cb_keras.fused.kinds import Form, Kind
from cb_keras.fused.op import (
    crossentropy,
    mean_upstream,
    names_bad_labels,
    prepared,
    why_not,
)

plain: ModuleType | None = None  # the shortest way to the op, where the backend has one
if keras.backend.backend() == "torch":
    from cb_keras.fused.doors import torch_plain as plain
elif keras.backend.backend() == "tensorflow":
    from cb_keras.fused.doors import tensorflow_plain as plain

__all__ = [
    "Form",
    "FusedOpError",
    "Kind",
    "available",
    "build",
    "compiles",
    "crossentropy",
    "load",
    "mean_upstream",
    "names_bad_labels",
    "plain",
    "prepared",
    "status",
    "why_not",
]
