"""What the programs run on: cores, devices, XLA, the fused op, and Keras' own settings.

All that asks the framework about devices is here. TensorFlow, Keras and cb_keras are imported by
the functions that need them: the programs say what is wrong with their flags before that.
"""

import contextlib
import importlib.util
import math
import os
import pathlib
import platform
import shlex
import sys

from experiments.cli import UserError
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
        except (OSError, ValueError):  # "max 100000" is not a limit
            continue
        found = min(found, limit / period)
    return found if found < math.inf else None


def cores_in_words():
    """The cores that this process may use, and what of their time."""
    number, limit = cores(), quota()
    of_time = f" (limited to the time of {limit:g})" if limit and limit < number else ""
    return f"{counted(number, 'core')}{of_time}"


def backend():
    """Keras' backend: "tensorflow" or "jax" where `keras_problems` has none."""
    import keras

    return keras.config.backend()


def has_tensorflow():
    """Whether TensorFlow is installed, whatever the backend."""
    return importlib.util.find_spec("tensorflow") is not None


def keras_problems(backends=("tensorflow", "jax")):
    """Settings of Keras under which a training fails or gives something else, a line each.

    Found late they cost the work done until then, or nobody finds them.

    Args:
        backends: Those that the program trains with.
    """
    import keras

    file = pathlib.Path(os.environ.get("KERAS_HOME", "~/.keras"), "keras.json")
    if backend() not in backends:
        given = "KERAS_BACKEND" if os.environ.get("KERAS_BACKEND") else f'"backend" in {file}'
        named = " or ".join(backends)
        yield (
            f"{given} is {backend()}, but this program trains with {named}: set "
            f"KERAS_BACKEND={backends[0]}."
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


def gpus():
    """The physical GPUs of TensorFlow, or what JAX has other than the CPU, a list."""
    if backend() == "jax":
        import jax

        return [device for device in jax.devices() if device.platform != "cpu"]
    import tensorflow as tf

    return tf.config.list_physical_devices("GPU")


def jit_compile(asked):
    """Whether XLA compiles the training step, as it always does on JAX.

    Args:
        asked: `--jit_compile`: "auto", "true" or "false".
    """
    if backend() == "jax":
        return True
    return bool(gpus()) if asked == "auto" else asked == "true"


def fused_op(asked, xla, has_loss):
    """Whether the loss runs as the native op, which XLA can't call everywhere.

    Args:
        asked: `--fused_op`: "auto", "on" or "off"; not "on" where the op does not have the loss.
        xla: Whether XLA compiles the training step.
        has_loss: Whether the op has the loss of the run.

    Raises:
        UserError: It was asked for, and XLA compiles the step and can't call it.
    """
    from cb_keras import fused

    usable = fused.compiles() if xla else fused.available()
    if asked == "on" and xla and not usable:
        raise UserError(
            "--fused_op=on can't be used here with XLA, which --jit_compile=auto turns on where "
            "there is a GPU; add --jit_compile=false."
        )
    return asked != "off" and has_loss and usable


def make_deterministic():
    """Leaves only the operations that give the same bits every time; before any is run."""
    if backend() == "jax":  # XLA reads it once, when the first device is asked for
        given = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{given} --xla_gpu_deterministic_ops=true".strip()
        return
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()


def leave_gpus_to_jax():
    """Keeps TensorFlow, where it is installed too, from taking the memory of the GPUs."""
    if backend() == "jax" and has_tensorflow():
        import tensorflow as tf

        tf.config.set_visible_devices([], "GPU")


def scope(asked, batch_size, num_images):
    """Context manager to make the model in; arguments as of `strategy`. JAX has one device."""
    if backend() == "jax":
        return contextlib.nullcontext()
    return strategy(asked, batch_size, num_images).scope()


def strategy(asked, batch_size, num_images):
    """The `tf.distribute.Strategy` to train under.

    Args:
        asked: `--strategy`: "none" or "mirrored", all devices of this machine.
        batch_size: Images per step, of all devices together.
        num_images: Images per epoch.

    Raises:
        UserError: The last batch of an epoch has fewer images than there are devices.
    """
    import tensorflow as tf

    if asked == "none":
        return tf.distribute.get_strategy()
    mirrored = tf.distribute.MirroredStrategy()
    replicas = mirrored.num_replicas_in_sync
    print(f"mirrored over {replicas} device(s): {', '.join(mirrored.extended.worker_devices)}")
    smallest = min(num_images % batch_size or num_images, batch_size)
    if smallest < replicas:
        raise UserError(
            f"--batch_size={batch_size} leaves a last batch of {smallest} images for {replicas} "
            "devices; choose one that leaves at least one image for each."
        )
    return mirrored


def environment(all_gpus=True):
    """Versions, device and command line, for `config.json`.

    Args:
        all_gpus: Whether the run uses all GPUs that are there, or only the first.
    """
    import keras
    import numpy

    import cb_keras

    framework = importlib.import_module(backend())
    return {
        "versions": {
            "python": platform.python_version(),
            "cb_keras": cb_keras.__version__,
            "keras": keras.__version__,
            backend(): framework.__version__,
            "numpy": numpy.__version__,
        },
        "device": [_name(gpu) for gpu in gpus()[: None if all_gpus else 1]]
        or [f"CPU, {cores_in_words()}, {platform.machine()}"],
        "command": shlex.join(["python", "-m", "experiments.train", *sys.argv[1:]]),
    }


def _name(gpu):
    """What a GPU is called."""
    if backend() == "jax":
        return gpu.device_kind
    import tensorflow as tf

    return tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
