"""Run by test_first_use.py in a process of its own, in the folder that it has made."""

import importlib
import json
import os
import pathlib
import sys
import threading

import keras
import numpy as np

from cb_keras import fused
from cb_keras.fused import library


def untrained():
    """Whether the op is used by a model that was saved, why not, and its losses."""
    model = keras.saving.load_model("model.keras")
    inputs, labels = np.load("inputs.npy"), np.load("labels.npy")
    history = model.fit(inputs, labels, batch_size=6, epochs=3, shuffle=False, verbose=0).history
    loss = type(model.loss)(**{**model.loss.get_config(), "fused": True})
    try:
        error = str(loss(labels, model(inputs)))
    except fused.FusedOpError as e:
        error = str(e)
    return [model.loss.fused, fused.status(), error, history["loss"]]


def cut():
    use_cache("cut")
    return fused.status()


def threads():
    """What two threads find that load the op at the same time; the status after a reload."""
    import tensorflow as tf

    use_cache("threads")
    load_op_library, both = tf.load_op_library, threading.Barrier(2)
    tf.load_op_library = lambda path: (both.wait(), load_op_library(path))[1]
    available = []
    pair = [threading.Thread(target=lambda: available.append(fused.available())) for _ in "ab"]
    [thread.start() for thread in pair]
    [thread.join() for thread in pair]
    tf.load_op_library = load_op_library
    importlib.reload(library)
    library.builder().LIBRARY = ""
    return [available, fused.status()]


def next_to():
    """The first library that matches, and the status."""
    import tensorflow as tf

    use_cache("next to")
    builder, package = library.builder(), library.PACKAGE
    builder.LIBRARY, library.PACKAGE = "libcb_keras_ops.so", pathlib.Path("package")
    first = str(library._of_this_tensorflow(tf.__version__)[0][0][0])
    status = fused.status()
    builder.LIBRARY, library.PACKAGE = "", package
    return [first, status]


def not_utf8():
    use_cache(os.fsdecode(b"caf\xe9"))
    return fused.status()


def digest_on_one_thread():
    """The number of threads, and the digest by the library that is in use."""
    import tensorflow as tf

    from tests.cb_keras.fused.cases import digest

    return [tf.config.threading.get_intra_op_parallelism_threads(), digest()]


STAGES = {
    "untrained": untrained,
    "cut": cut,
    "threads": threads,
    "next to": next_to,
    "not UTF-8": not_utf8,
    "digest": digest_on_one_thread,
}


def use_cache(name):
    """The next use looks for a library in this folder, as if it were the first."""
    os.environ["CB_KERAS_CACHE"] = os.path.abspath(name)
    library._in_use.clear()
    library._find.cache_clear()


def main(stages=tuple(STAGES)):
    """Prints what the stages find, in JSON."""
    library.builder().LIBRARY = library.builder().CORE = ""  # the package has none
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
    json.dump({name: STAGES[name]() for name in stages}, sys.stdout)
    print()
