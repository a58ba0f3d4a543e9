"""The networks by name: adding a family is a file here and its `Family` in `FAMILIES`.

Names, what `--help` says and most refusals are there without Keras.
"""

import difflib

from experiments.backbones import applications, resnet
from experiments.backbones.family import Family

__all__ = [
    "DEFAULT",
    "FAMILIES",
    "NAMES",
    "OLDER",
    "Family",
    "of",
    "problems",
    "settled",
    "without_effect",
]

FAMILIES = (resnet.FAMILY, applications.FAMILY)
DEFAULT = resnet.NAME
# What a run that was recorded before there was a choice had.
OLDER = {"backbone": DEFAULT, "backbone_weights": None, "freeze_epochs": 0}
NAMES = " or ".join(family.names for family in FAMILIES)  # for --help


def settled(settings):
    """The settings with the one name that each network has: `--backbone=resnet8` is `--depth=8`.

    A name that no family knows stays as it is, for `problems` to refuse.
    """
    for family in FAMILIES:
        if found := family.settled(settings):
            return {**settings, **found}
    return settings


def of(settings):
    """The `Family` of settled settings; of an older run, the default's.

    Raises:
        ValueError: The backbone is unknown; names the nearest that there are.
    """
    name = settings.get("backbone", DEFAULT)
    for family in FAMILIES:
        if family.has(name):
            return family
    known = {n.lower(): n for family in FAMILIES for n in family.usual()}
    near = [known[n] for n in difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)]
    meant = f"did you mean {' or '.join(near)}? There" if near else "there"
    raise ValueError(f"--backbone={name} is unknown; {meant} are {NAMES}.")


def without_effect(settings):
    """The settings that the network does not have, with their defaults."""
    return {} if settings.get("backbone", DEFAULT) == DEFAULT else {"depth": resnet.DEPTH}


def problems(settings):
    """What is wrong with the network and where its weights are from, a line each.

    Args:
        settings: Settled settings.
    """
    try:
        yield from of(settings).problems(settings)
    except ValueError as error:
        yield str(error)
