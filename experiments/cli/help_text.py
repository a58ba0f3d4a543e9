"""What `--help` prints: the program's docstring, how it is started, its flags in groups."""

import shutil
import sys
import textwrap

from absl import flags

_ASKING = ("-h", "-?", *(f"{dash}{name}" for dash in ("-", "--") for name in ("help", "helpshort")))
_TYPES = {"int": "INTEGER", "float": "NUMBER", "comma separated list of strings": "LIST"}
_INDENT = 6
_WIDEST, _NARROWEST = 100, 40
OTHERS = "Other flags"  # those of the program that are in no group
_OF_EVERY_PROGRAM = {
    "--flagfile=FILE": "Flags from a file, one a line. Of a flag given twice the last counts.",
    "--help": "This text.",
}


def is_asked_for(arguments):
    """Whether there is a request for help among the arguments, before any `--`."""
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return any(argument in _ASKING for argument in before)


def own_flags():
    """Names of the flags that modules of ours define, as far as they are imported."""
    by_module = flags.FLAGS.flags_by_module_dict()
    return [
        flag.name
        for module, defined in by_module.items()
        if module.startswith("experiments.") or module == sys.argv[0]  # absl's name for __main__
        for flag in defined
    ]


def of_program(arguments=(), groups=None):
    """The help of the program that runs.

    Args:
        arguments: Names of its positional arguments.
        groups: Dict of title to names of flags; None where the flags are too few for groups.
    """
    width = max(_NARROWEST, min(shutil.get_terminal_size().columns, _WIDEST))
    program = sys.modules["__main__"]
    groups = {"Flags": own_flags()} if groups is None else dict(groups)
    grouped = {name for names in groups.values() for name in names}
    groups[OTHERS] = [name for name in own_flags() if name not in grouped]
    settings = ["[--flag=value ...]"] if any(groups.values()) else []
    usage = " ".join(["usage: python", _started(program), *arguments, *settings])
    parts = [_wrapped(program.__doc__ or "", width), usage]
    for title, names in groups.items():
        if names:
            entries = (_entry(*_described(flags.FLAGS[name]), width) for name in names)
            parts.append("\n".join([f"{title}:", *entries]))
    entries = (_entry(left, words, width) for left, words in _OF_EVERY_PROGRAM.items())
    parts.append("\n".join(["Of every program:", *entries]))
    return "\n\n".join(part for part in parts if part)


def _started(program):
    spec = getattr(program, "__spec__", None)
    return f"-m {spec.name}" if spec else sys.argv[0]


def _wrapped(text, width):
    """The paragraphs of a docstring; those with commands or an indent stay as they are."""
    paragraphs = []
    for paragraph in text.strip().split("\n\n"):
        lines = paragraph.strip("\n").split("\n")
        as_it_is = any(line.startswith((" ", "python ")) for line in lines)
        paragraphs.append("\n".join(lines) if as_it_is else _filled(" ".join(lines), width))
    return "\n\n".join(paragraphs)


def _described(flag):
    """How a flag is given, with its choices or its type, and what it means, with its default."""
    choices = getattr(flag.parser, "enum_values", None)
    words = flag.help.strip()
    if choices:  # which absl puts before the words
        words = words.removeprefix(f"<{'|'.join(choices)}>: ")
    if flag.default is not None:
        words += f" Default: {_default(flag)}."
    if flag.boolean:
        return f"--[no]{flag.name}", words
    value = "|".join(choices) if choices else _TYPES.get(flag.flag_type(), "TEXT")
    return f"--{flag.name}={value}", words


def _default(flag):
    value = flag.default
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _entry(left, words, width):
    indent = " " * _INDENT
    return f"  {left}\n{_filled(words, width, indent)}"


def _filled(text, width, indent=""):
    return textwrap.fill(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
