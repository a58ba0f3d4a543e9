"""What `--sampler` says about how often an epoch shows the images of each class."""

import math

from experiments.methods.method import short

UNIFORM, PROGRESSIVE = "uniform", "progressive"
_POWERS = {"square_root": 0.5, "class_balanced": 1.0}
_POWER = "power:"
NAMES = ", ".join((UNIFORM, *_POWERS, PROGRESSIVE, f"{_POWER}P"))


def of(settings):
    """The sampler of settings or of the flags of a run; one that recorded none had the uniform."""
    return settings.get("sampler", UNIFORM)


def power(sampler):
    """The P of shares `n_c^(1 - P)`, as of `cb_keras.sampling.epoch_order`.

    Raises:
        ValueError: It is no sampler of a power; names those that there are.
    """
    if sampler in _POWERS:
        return _POWERS[sampler]
    kind, given, number = str(sampler).partition(_POWER)
    try:
        found = math.nan if kind or not given else float(number)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(
            f"`sampler` must be one of {NAMES}, P a finite number such as 0.5, got {sampler!r}."
        )
    return found


def check(sampler):
    """Raises ValueError unless it is a value of `--sampler`; names those that there are."""
    if sampler not in (UNIFORM, PROGRESSIVE):
        power(sampler)


def canonical(sampler):
    """The one way to write it: power:0.5 for power:0.50; what is no sampler as it is."""
    if not str(sampler).startswith(_POWER):
        return sampler
    try:
        return _POWER + short(power(sampler))
    except ValueError:
        return sampler


def in_name(settings):
    """Its part of a run's name, such as "class_balanced_sampler", in a list; the usual has none."""
    sampler = of(settings)
    return [] if sampler == UNIFORM else [f"{sampler.replace(_POWER, 'power')}_sampler"]
