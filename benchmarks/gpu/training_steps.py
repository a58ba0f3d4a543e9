"""Do training steps with the fused op learn the same as without, and how long do they take?

KERAS_BACKEND=jax python -m benchmarks.gpu.training_steps --json=FILE [--small]

A network of one dense layer trains with `model.fit`, by one of our losses with the op and without.
"""

import argparse
import json
import pathlib
import time

import keras
import numpy as np

import cb_keras
from cb_keras.fused import op

_LOSSES = {
    "softmax": cb_keras.losses.ClassBalancedSoftmaxCrossentropy,
    "focal": cb_keras.losses.ClassBalancedFocalCrossentropy,
}
_FEATURES = 64
# How far the losses of two trainings may be apart, relative, after a few steps.
_ALIKE = {"float32": 1e-4, "mixed_bfloat16": 2e-2}


class _Seconds(keras.callbacks.Callback):
    """Seconds of each epoch."""

    def __init__(self):
        super().__init__()
        self.of_epoch = []

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock."""
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Stops it; the loss in `logs` has been waited for."""
        float(logs["loss"])
        self.of_epoch.append(time.perf_counter() - self.start)


def trained(loss, precision, size, steps, fused):
    """Trains three epochs of so many steps.

    Returns:
        `(losses of the epochs, milliseconds of a step of the last)`.
    """
    N, C = size
    generator = np.random.default_rng(0)
    x = generator.standard_normal((N * steps, _FEATURES), dtype="float32")
    y = generator.integers(C, size=N * steps).astype("int32")
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(C, dtype=precision)
    model = keras.Sequential([keras.Input((_FEATURES,)), dense])
    counts = cb_keras.long_tailed_counts(C, 5000, 0.02)
    model.compile("sgd", loss(counts, fused=fused))
    seconds = _Seconds()
    history = model.fit(x, y, batch_size=N, epochs=3, shuffle=False, verbose=0, callbacks=[seconds])
    return history.history["loss"], 1000.0 * seconds.of_epoch[-1] / steps


def compared(name, precision, size, steps):
    """One loss with the op and without: `losses` and `milliseconds` of each, and `alike`."""
    dtype = "float32" if precision == "float32" else "bfloat16"
    found = {"loss": name, "precision": precision, "size": list(size)}
    why = op.why_not(name, dtype)
    if why:
        return {**found, "why_not": why}
    losses, milliseconds = {}, {}
    for fused in (True, False):
        form = "fused" if fused else "keras.ops"
        losses[form], milliseconds[form] = trained(_LOSSES[name], precision, size, steps, fused)
    alike = bool(np.allclose(losses["fused"], losses["keras.ops"], rtol=_ALIKE[precision], atol=0))
    return {**found, "losses": losses, "milliseconds": milliseconds, "alike": alike}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", required=True)
    parser.add_argument("--small", action="store_true", help="One tiny case.")
    arguments = parser.parse_args()
    sizes = [(64, 10)] if arguments.small else [(4096, 8142), (128, 10)]
    precisions = list(_ALIKE)[: 1 if arguments.small else None]
    result = {"backend": keras.backend.backend(), "steps": []}
    for size in sizes:
        for precision in precisions:
            for name in _LOSSES:
                result["steps"].append(
                    compared(name, precision, size, 3 if arguments.small else 20)
                )
                print(json.dumps(result["steps"][-1]), flush=True)
                pathlib.Path(arguments.json).write_text(json.dumps(result, indent=1) + "\n")
    if not all(step.get("alike", True) for step in result["steps"]):
        raise SystemExit("trainings with the op and without are not alike")


if __name__ == "__main__":
    main()
