"""Which settings take effect on a run: a report or a comparison shows no others."""

import json

from experiments import backbones, methods
from experiments.methods.class_balanced import CB_POWER
from experiments.runs import figures, naming, recipe, sampling, tails

# On the figures: the fused op and XLA compute the same but for rounding; what balanced_lr_decay
# does is in `resolved`.
_NEVER = ("fused_op", "jit_compile", "eval_batch_size", "balanced_lr_decay")
_OF_STEPS = ("lr_boundaries", "lr_decay")
_OF_A_TAIL = ("imbalance_factor", "long_tail_seed")
_NONE_NEEDS_NO_WORDS = ("first_stage", "long_tail_seed", "backbone_weights")
# What a run had that was recorded before there were these flags.
OLDER = {**recipe.OLDER, **backbones.OLDER}


def method_of(flags):
    """The `Method` of a run; the usual one of a name that this version does not know."""
    return methods.METHODS.get(flags.get("method", methods.DEFAULT), methods.get(methods.DEFAULT))


def parameters(flags):
    """Tuple of the `Parameter` of the method and its loss that have an effect on a run."""
    method = method_of(flags)
    try:
        return method.parameters_of(flags)
    except ValueError:  # a loss of another version
        return method.parameters


def power(flags):
    """Power of the class-balanced term; None of a method without one."""
    return flags[CB_POWER.name] if CB_POWER in parameters(flags) else None


def in_label(flags, names=()):
    """What tells a run from others of its method and loss but the power, a list of texts.

    Args:
        flags: Those that it recorded.
        names: Parameters of the method that are told also where they have their defaults.
    """
    known = flags.get("method", methods.DEFAULT) in methods.METHODS
    told = [
        f"{p.in_name} {naming.exact(p.value(flags))}"
        for p in method_of(flags).parameters
        if p is not CB_POWER and (p.name in names or (known and p.value(flags) != p.default))
    ]
    sampler = sampling.of(flags)
    return told if sampler == sampling.UNIFORM else [*told, f"{sampler} sampler"]


def compared(runs):
    """Parameters of methods that the runs have, all but the power.

    Returns:
        `(shared, different, everywhere)`: dict of name to the value that all runs have on which it
        has an effect, set of the names of those that differ, and set of the names of those that
        have an effect on every run.
    """
    values = {}
    for flags in (run.flags for run in runs):
        own = method_of(flags).parameters
        for p in parameters(flags):
            if p is not CB_POWER and p in own:
                values.setdefault(p.name, []).append(p.value(flags))
    same = {name: len({json.dumps(v) for v in found}) == 1 for name, found in values.items()}
    shared = {name: found[0] for name, found in values.items() if same[name]}
    everywhere = {name for name, found in values.items() if len(found) == len(runs)}
    return shared, {name for name in values if not same[name]}, everywhere


def settings(config):
    """The settings that take effect on a run, as they took effect: name to value.

    Args:
        config: Its `config.json`, checked.
    """
    flags, resolved = {**OLDER, **config["flags"]}, config["resolved"]
    left_out = without(flags)
    found = {n: resolved.get(n, v) for n, v in flags.items() if n not in left_out}
    return found | {p.name: p.value(flags) for p in parameters(flags)}


def different(a, b):
    """In which settings that take effect two runs differ.

    Args:
        a: `config.json` of one, checked.
        b: Of the other.

    Returns:
        Dict of name to `(value of a, value of b)`, in the order of the names; None where a run does
        not have it, or it has no effect on it.
    """
    of_a, of_b = settings(a), settings(b)
    pairs = {name: (of_a.get(name), of_b.get(name)) for name in sorted({*of_a, *of_b})}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def in_words(name, value, flags):
    """The value of a setting of `different`, for people to read.

    Args:
        name: The setting.
        value: Its value; None where there is none.
        flags: Those that the run recorded.
    """
    if value is not None:
        return figures.setting(value)
    if name in methods.PARAMETERS or flags.get(name) is not None:
        return "without effect"
    return "not given" if name in {**OLDER, **flags} else "not recorded"


def without(flags):
    """Names of the settings that have no effect on a run."""
    names = {*_NEVER, *methods.PARAMETERS, *backbones.without_effect(flags)}
    if tails.is_natural(flags):
        names |= {*_OF_A_TAIL}
    if flags.get("lr_schedule", recipe.OFF["lr_schedule"]) == "cosine":
        names |= {*_OF_STEPS}
    own = {name for name in _NONE_NEEDS_NO_WORDS if flags.get(name) is None}
    return names | own


def is_off(name, value):
    """Whether a setting is a part of the recipe that is switched off, which needs no words."""
    return recipe.OFF.get(name) == 0 and value == 0
