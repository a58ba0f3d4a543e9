"""The programs as people meet them: start, help, flagfiles, paths, errors in one line."""

from experiments.cli.errors import UserError, in_a_line
from experiments.cli.flagfiles import is_only_in_a_flagfile, with_flagfiles
from experiments.cli.paths import check_loadable, local_path
from experiments.cli.program import run
from experiments.cli.quiet import quietly

__all__ = [
    "UserError",
    "check_loadable",
    "in_a_line",
    "is_only_in_a_flagfile",
    "local_path",
    "quietly",
    "run",
    "with_flagfiles",
]
