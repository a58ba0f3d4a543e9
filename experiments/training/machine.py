"""What the programs run on: the cores, and the settings that Keras takes from its surroundings."""

import math
import os
import pathlib
import platform
import shlex
import sys

from experiments.runs.figures import counted


def cores():
    """Cores that this process may use: those it is bound to, where the system can tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def quota(root="/"):
    """Cores whose time the control groups of this process leave it, a float; None without a limit.

    A container that was given "1.5 CPUs" may run on all cores, for as long as 1.5 would be busy.

    Args:
        root: Where the system's files are.
    """
    root = pathlib.Path(root)
    try:
        groups = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    group = next((line.removeprefix("0::/") for line in groups if line.startswith("0::/")), "")
    found = math.inf
    for folder in (pathlib.Path(group), *pathlib.Path(group).parents):
        try:
            text = (root / "sys/fs/cgroup" / folder / "cpu.max").read_text(encoding="utf-8")
            limit, period = map(float, text.split())
        except (OSError, ValueError):  # "max 100000" is no limit
            continue
        found = min(found, limit / period)
    return found if found < math.inf else None


def cores_in_words():
    """The cores that this process may use, and what of their time."""
    number, limit = cores(), quota()
    of_time = f" (limited to the time of {limit:g})" if limit and limit < number else ""
    return f"{counted(number, 'core')}{of_time}"


def keras_problems():
    """What of Keras' own settings no training is right with, each in words, with the fix.

    Found late they cost the work done until then, or nobody finds them.
    """
    import keras

    file = pathlib.Path(os.environ.get("KERAS_HOME", "~/.keras"), "keras.json")
    backend = keras.config.backend()
    if backend != "tensorflow":
        given = "KERAS_BACKEND" if os.environ.get("KERAS_BACKEND") else f'"backend" in {file}'
        yield (
            f"{given} is {backend}, but the programs train and export with TensorFlow: set "
            "KERAS_BACKEND=tensorflow."
        )
    if keras.config.floatx() != "float32":
        yield (
            f'"floatx" in {file} is {keras.config.floatx()}, which the layers can\'t be mixed '
            "with: set it to float32; --precision chooses the layers' own type."
        )
    for name in ("max_epochs", "max_steps_per_epoch"):
        most = getattr(keras.config, name)()
        if most is not None:
            yield (
                f"KERAS_{name.upper()} is {most}, with which Keras ends a training early and says "
                "nothing: unset it; --train_epochs says how long to train."
            )


def environment(all_gpus=True):
    """Versions, device and command line, for `config.json`.

    Args:
        all_gpus: Whether the run uses all GPUs that are there, or only the first.
    """
    import keras
    import numpy
    import tensorflow as tf

    import cb_keras

    gpus = tf.config.list_physical_devices("GPU")[: None if all_gpus else 1]
    names = [tf.config.experimental.get_device_details(g).get("device_name", "GPU") for g in gpus]
    return {
        "versions": {
            "python": platform.python_version(),
            "cb_keras": cb_keras.__version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "numpy": numpy.__version__,
        },
        "device": names or [f"CPU, {cores_in_words()}, {platform.machine()}"],
        "command": shlex.join(["python", "-m", "experiments.train", *sys.argv[1:]]),
    }
