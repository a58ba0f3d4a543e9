"""What the flags of the strong recipe and of second stages are of older runs, and in run names."""

import pathlib

from experiments.methods.method import short

# A run that was recorded before there were these flags had none of the recipe.
OFF = {
    "lr_schedule": "steps",
    "cutout": 0,
    "randaugment": 0.0,
    "mixup_alpha": 0.0,
    "cutmix_alpha": 0.0,
    "ema": 0.0,
    "sam_rho": 0.0,
}
OLDER = {**OFF, "first_stage": None, "long_tail_seed": None}
_NETWORK = ": model.keras (sha256 "  # what a record says after the name of a first stage


def is_on(settings):
    """Whether a run has any of the recipe."""
    return any(settings.get(name, off) != off for name, off in OFF.items())


def in_name(settings):
    """Its part of a run's name, such as "mixup1_cosine", in a list: what is not off."""
    parts = []
    for name, off in OFF.items():
        value = settings.get(name, off)
        if value != off:
            called = name.removesuffix("_alpha").removesuffix("_rho")
            parts.append(value if isinstance(value, str) else called + short(value))
    return parts


def first_stage_in_name(settings, shared):
    """Which run a second stage begins with, such as "on_softmax_power0_epochs200", in a list.

    Args:
        settings: The settings; `first_stage` is a path, or the name and digest of a record.
        shared: Beginnings and ends of run names that both stages have, which are left out.
    """
    name = first_stage(settings)
    if name is None:
        return []
    for text in shared:
        name = name.removeprefix(f"{text}_").removesuffix(f"_{text}")
    return [f"on_{name}"]


def first_stage(settings):
    """The name of the run directory that a second stage begins with; None of another training."""
    given = settings.get("first_stage")
    if not isinstance(given, str):
        return None
    return pathlib.PurePath(given.partition(_NETWORK)[0]).name
