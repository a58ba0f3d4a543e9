"""A fault of one version of JAX that the programs go around."""

import importlib.metadata
import os

# On the CPU this jaxlib gives its YNNPACK whole chains of operations, of which means of bfloat16
# come out as NaN. Other versions end at a flag that they do not know, so it is for this one alone.
_BROKEN = "0.11.2"
_FLAG = "--xla_cpu_experimental_ynn_fusion_type"


def avoid_broken_fusions():
    """Sets XLA_FLAGS where they are needed; before JAX is imported, which reads them once."""
    given = os.environ.get("XLA_FLAGS", "")
    if os.environ.get("KERAS_BACKEND") != "jax" or _FLAG in given:
        return
    try:
        version = importlib.metadata.version("jaxlib")
    except importlib.metadata.PackageNotFoundError:
        return
    if version == _BROKEN:
        os.environ["XLA_FLAGS"] = f"{given} {_FLAG}=".strip()
