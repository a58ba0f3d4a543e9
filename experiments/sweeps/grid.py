"""A grid of a user's own: the flags of experiments.train that `--grid` varies, and their values."""

import difflib

from absl import flags

from experiments import backbones
from experiments.cli import UserError
from experiments.runs import tails
from experiments.training import flags as train_flags

MOST_RUNS = 1000
_SYNTAX = 'write --grid="NAME=VALUE,VALUE;NAME=VALUE", such as "cb_power=0,0.5,1;gamma=0,1,2".'
# What no grid varies, and why.
_FIXED = {
    "seed": "use --seeds",
    "backbone_weights": "start a sweep for each file",
    "dataset": "no table mixes runs on different data; start a sweep for each data set",
    **dict.fromkeys(
        ("validation_fraction", "test_fraction", "image_size"),
        "no table mixes runs on different images; start a sweep for each value",
    ),
}


def axes(text):
    """The flags that a grid varies and their values, in their order.

    Args:
        text: The value of `--grid`. Values are separated by commas; those of a list, which hold
            commas, by "|".

    Returns:
        Dict of flag to tuple of values, as absl's own parser of the flag gives them.

    Raises:
        UserError: Lists every flag and value that is unknown, wrong or given twice.
    """
    found, problems = {}, []
    for part in text.split(";"):
        name, equals, values = (word.strip() for word in part.partition("="))
        if not (name and equals and values):
            problems.append(f"--grid: {part.strip()!r} is not a flag with its values; {_SYNTAX}")
        elif problem := _problem(name):
            problems.append(f"--grid: {problem}")
        elif name in found:
            problems.append(f"--grid names {name} twice; give all its values at once.")
        else:
            found[name], wrong = _values(name, values)
            problems += wrong
    if problems:
        raise UserError("\n  ".join(problems))
    return found


def shared_settings(settings, varied):
    """The settings that all cells of a grid share.

    Args:
        settings: Those that the flags give.
        varied: Flags that the grid varies. As on a command line, an imbalance factor asks for a
            tail that is cut to it, unless `--long_tail` says otherwise.
    """
    if "imbalance_factor" in varied and flags.FLAGS["long_tail"].value is None:
        return {**settings, "long_tail": tails.EXPONENTIAL}
    return settings


def check_size(cells):
    """Refuses a grid that nobody means to wait for.

    Raises:
        UserError: It has more than `MOST_RUNS` cells.
    """
    if len(cells) > MOST_RUNS:
        raise UserError(
            f"--grid has {len(cells)} cells, the seeds counted, and {MOST_RUNS} is the most: leave "
            "out values, or split it over several sweeps."
        )


def unknown(name, known, program="experiments.train"):
    """That a flag is none of a program, and which may be meant.

    Args:
        name: The flag.
        known: The flags that there are.
        program: Module of the program.
    """
    close = difflib.get_close_matches(name, known, n=1)
    fix = f"did you mean {close[0]}?" if close else f"python -m {program} --help has all"
    return f"{name} is not a flag of {program}; {fix}"


def _problem(name):
    """Why no grid varies a flag; None where it may."""
    if name in _FIXED:
        return f"{name} can't be varied: {_FIXED[name]}."
    known = train_flags.given_settings()
    if name not in known:
        return unknown(name, known)
    if not train_flags.is_recorded(name):
        return f"{name} can't be varied: it does not change what is trained; give it to all cells."
    return None


def _values(name, text):
    """`(values, problems)` of one flag."""
    parser = flags.FLAGS[name].parser
    separator = "|" if isinstance(parser, flags.ListParser) else ","
    found, problems = [], []
    for word in text.split(separator):
        try:
            value = parser.parse(word.strip())
        except ValueError as error:
            problems.append(f"--grid: {name}={word.strip()}: {error}; give values of --{name}.")
            continue
        if name == "backbone":
            given, value = value, backbones.settled({name: value})[name]
            if value == backbones.DEFAULT != given:
                depth = given.removeprefix(backbones.DEFAULT)
                problems.append(
                    f"--grid: {name}={given}: write {name}={value} and give --depth={depth}, or "
                    "vary depth alone."
                )
                continue
        if value in found:
            problems.append(f"--grid has {name}={word.strip()} twice; leave one of them out.")
        found.append(value)
    return tuple(found), problems
