"""The name of a run directory, made of its settings."""

import pathlib

from experiments import methods
from experiments.runs import tails


def run_name(s):
    """Name of a run directory: what is usually varied, and the seed."""
    dataset = s["dataset"].replace(":", "_").replace("/", "_")
    method = methods.of(s).in_name(s)
    return f"{dataset}_{tails.in_name(s)}_{method}_epochs{s['train_epochs']}_seed{s['seed']}"


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
