"""Reads the flagfiles of a command line."""

import re

from absl import flags

from experiments.cli.errors import UserError
from experiments.cli.paths import local_path

_own = None  # the flags that the program's command line has itself, once they are known


def with_flagfiles(arguments, inside=()):
    """The command line with what its flagfiles hold in their places.

    absl's own reader stops at a byte-order mark, passes over a nested flagfile that is indented,
    and takes an empty name, as an unset variable of the shell gives it, for no flagfile at all.

    Args:
        arguments: List of arguments, without the program.
        inside: Paths of the flagfiles that these arguments were read from, outermost first.

    Raises:
        UserError: A flagfile can't be read, is not UTF-8, or holds itself.
    """
    expanded, rest = [], list(arguments)
    while rest:
        argument = rest.pop(0)
        flag, equals, value = argument.partition("=")
        if argument == "--":
            return [*expanded, argument, *rest]
        if flag not in ("--flagfile", "-flagfile"):
            expanded.append(argument)
            continue
        if not equals:
            value = rest.pop(0) if rest else ""
        path = local_path("--flagfile", value)
        if path in inside:
            raise UserError(f"--flagfile={path} holds itself; take that line out of it.")
        expanded += with_flagfiles(_lines(path), (*inside, path))
    return expanded


def remember(arguments):
    """Keeps which flags this command line has itself, for `is_only_in_a_flagfile`.

    Args:
        arguments: As of `with_flagfiles`; None forgets them.
    """
    words, skip = None if arguments is None else set(), False
    for argument in arguments or ():
        if argument == "--":
            break
        flag, equals, _ = argument.partition("=")
        if not skip and argument.startswith("-"):
            words |= {flag.lstrip("-"), flag.lstrip("-").removeprefix("no")}
        skip = flag in ("--flagfile", "-flagfile") and not equals
    global _own
    _own = words


def is_only_in_a_flagfile(name):
    """Whether a flag was given in a flagfile and not on the command line itself.

    False of all flags where `remember` was not called.
    """
    return flags.FLAGS[name].present and _own is not None and name not in _own


def _lines(path):
    """The lines of a flagfile that hold flags."""
    try:
        content = path.read_bytes()
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise UserError(f"--flagfile={path} is UTF-16 or UTF-32; save it as UTF-8.")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise UserError(
            f"--flagfile={path} can't be read ({error.strerror}); name a text file."
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"--flagfile={path} is not UTF-8 text (byte {error.start}); save it as UTF-8."
        ) from error
    lines = (line.strip() for line in re.split(r"\r\n?|\n", text))
    return [line for line in lines if line and not line.startswith(("#", "//"))]
