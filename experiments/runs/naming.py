"""The name of a run directory, made of its settings."""

import pathlib

from experiments import backbones, methods
from experiments.methods.method import short
from experiments.runs import recipe, sampling, tails

# Settings that every name tells; a parameter that has no effect has its default.
IN_NAME = frozenset(
    {
        *("dataset", "long_tail", "imbalance_factor", "method", "loss", "train_epochs", "seed"),
        *("backbone", "sampler"),
        *recipe.OLDER,
        *methods.PARAMETERS,
    }
)


_PATHS = ("folder:", "npz:")  # beginnings of data sets that go on with a path of this machine


def is_path(dataset):
    """Whether the name of a data set, or None, holds a path."""
    return isinstance(dataset, str) and dataset.startswith(_PATHS)


def without_folders(dataset):
    """The name of a data set without the folders that its path goes through."""
    if not is_path(dataset):
        return dataset
    kind, _, path = dataset.partition(":")
    return f"{kind}:{pathlib.PurePath(path).name}"


def run_name(s, also=()):
    """Name of a run directory: what is usually varied, and the seed.

    Args:
        s: The settings.
        also: Names of settings that a grid varies; those that no name tells are added to it, such
            as "_depth=8".
    """
    dataset = _for_a_file(without_folders(s["dataset"]))
    network = s.get("backbone", backbones.DEFAULT)
    own = [network] if network != backbones.DEFAULT else []
    data, seed = [dataset, tails.in_name(s), *own], f"seed{s['seed']}"
    parts = [*data, methods.of(s).in_name(s), *sampling.in_name(s), *recipe.in_name(s)]
    parts += map(_for_a_file, recipe.first_stage_in_name(s, ("_".join(data), seed)))
    name = f"{'_'.join(parts)}_epochs{s['train_epochs']}_{seed}"
    return name + "".join(_added(s, setting) for setting in sorted({*also} - IN_NAME))


def added(folder, flags):
    """Settings that a grid has added to the name of a run directory, a tuple.

    Args:
        folder: Its path, or its name.
        flags: The `flags` of its `config.json`.

    Returns:
        None where it does not have the name that its settings give it, as a copy does not.
    """
    try:
        rest = pathlib.PurePath(folder).name
        plain = run_name(flags)
        if not rest.startswith(plain):
            return None
        rest, found = rest[len(plain) :], []
        for setting in sorted({*flags} - IN_NAME):
            if rest.startswith(f"_{setting}=") and rest.startswith(_added(flags, setting)):
                found.append(setting)
                rest = rest[len(_added(flags, setting)) :]
    # Of another version, or edited.
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return None
    return None if rest else tuple(found)


def has_its_name(folder, flags):
    """Whether a run directory has the name that its settings give it; else it may be a copy.

    Args:
        folder: Its path, or its name.
        flags: The `flags` of its `config.json`.
    """
    return added(folder, flags) is not None


def exact(value):
    """The value of a setting in as few characters as tell it from every other."""
    if isinstance(value, list | tuple):
        return ",".join(map(exact, value))
    if isinstance(value, bool):
        return str(value).lower()
    return short(value) if isinstance(value, float) else str(value)


def _added(settings, name):
    return f"_{name}={_for_a_file(exact(settings[name]))}"


def _for_a_file(text):
    return text.replace(":", "_").replace("/", "_")
