"""The name of a run directory, made of its settings."""

import pathlib

from experiments import methods
from experiments.methods.method import short


def run_name(s):
    """Name of a run directory: what is usually varied, and the seed."""
    dataset = s["dataset"].replace(":", "_").replace("/", "_")
    factor = short(s["imbalance_factor"])
    tail = "natural" if s.get("long_tail") == "natural" else f"factor{factor}"
    return (
        f"{dataset}_{tail}_{methods.of(s).in_name(s)}_epochs{s['train_epochs']}_seed{s['seed']}"
    )


def has_its_name(folder, flags):
    """Whether a run directory has the name that its settings give it; else it may be a copy.

    Args:
        folder: Its path, or its name.
        flags: The `flags` of its `config.json`.
    """
    try:
        return pathlib.PurePath(folder).name == run_name(flags)
    # Of another version, or edited.
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return False
