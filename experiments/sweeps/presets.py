"""Settings of the presets, for rows of tables that have one of their own."""

import functools
import pathlib

from absl import flags

from experiments.cli import with_flagfiles
from experiments.training import flags as train_flags

FOLDER = pathlib.Path(__file__).parents[1] / "presets"


@functools.cache
def settings(name):
    """The settings that a preset names, as the flags give them.

    Args:
        name: Name of its file, without `.flags`.
    """
    lines = with_flagfiles([f"--flagfile={FOLDER / f'{name}.flags'}"])
    pairs = (line.removeprefix("--").partition("=") for line in lines)
    return {flag: flags.FLAGS[flag].parser.parse(value) for flag, _, value in pairs}


def default(name):
    """The setting that a flag gives where nobody gave it."""
    return train_flags.default(name)
