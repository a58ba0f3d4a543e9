"""The fused op on four devices of the CPU: run in a process of its own, prints JSON.

For every way of spreading the inputs: how far losses and gradients are from those of one device,
how many rows each device had, and whether anything was gathered from several.
"""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cb_keras import fused
from cb_keras.losses import LDAMCrossentropy

ROWS, CLASSES = 16, 6
SPREADS = {  # of logits and of labels, over the axes "data" and "model"
    "rows": (("data", "model"),),
    "some rows": ("data",),
    "classes": ("data", "model"),
    "nothing": (),
}


def main():
    """Prints what is found of each spread, and of functions that are mapped over devices."""
    assert fused.available(), fused.status()
    mesh = Mesh(np.array(jax.devices()).reshape(2, 2), ("data", "model"))
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(ROWS, CLASSES)), "float32")
    labels = {
        "ids": jnp.asarray(rng.integers(0, CLASSES, ROWS)),
        "soft": jnp.asarray(rng.uniform(size=(ROWS, CLASSES)), "float32"),
    }
    labels["margins"] = labels["ids"]
    weights = jnp.asarray(rng.uniform(0.5, 2, CLASSES), "float32")
    upstream = jnp.arange(ROWS, dtype="float32")

    def focal(logits, labels):
        losses = fused.crossentropy("focal", labels, logits, weights, 2.0, 1 / ROWS)
        return losses.mean() + upstream @ losses

    of_margins = LDAMCrossentropy([900, 90, 90, 9, 9, 9], fused=True)

    def ldam(logits, labels):
        losses = of_margins.call(labels, logits)
        return losses.mean() + upstream @ losses

    found = {}
    for spread, axes in SPREADS.items():
        for form, given in labels.items():
            step = jax.jit(jax.value_and_grad(ldam if form == "margins" else focal))
            right = step(logits, given)
            spread_logits = jax.device_put(logits, NamedSharding(mesh, PartitionSpec(*axes)))
            axes_of_labels = axes[: given.ndim]
            spread_labels = jax.device_put(
                given, NamedSharding(mesh, PartitionSpec(*axes_of_labels))
            )
            value, slope = step(spread_logits, spread_labels)
            text = step.lower(spread_logits, spread_labels).compile().as_text()
            calls = re.findall(r"f32\[(\d+),\d+\]\S* custom-call.*cb_keras_scale", text)
            found[f"{spread}, {form}"] = {
                "error": max(abs(value - right[0]), jnp.abs(slope - right[1]).max()).item(),
                "rows of a call": sorted({int(n) for n in calls}),
                "gathered": "all-gather" in text,
                "rows of a device": slope.sharding.shard_shape(slope.shape)[0],
            }
    parts = logits.reshape(4, -1, CLASSES), labels["ids"].reshape(4, -1)
    mapped = jax.pmap(jax.grad(lambda z, y: fused.crossentropy("focal", y, z, weights).sum()))
    alone = jax.grad(lambda z: fused.crossentropy("focal", labels["ids"], z, weights).sum())
    error = jnp.abs(mapped(*parts).reshape(logits.shape) - alone(logits)).max()
    print(json.dumps(found | {"pmap": error.item()}))


if __name__ == "__main__":
    main()
