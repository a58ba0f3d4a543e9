"""Shows the section "Call arguments" of a docstring as a list, an argument a line."""

import re

import griffe

_SECTION = re.compile(r"^Call arguments:\n((?:    .*\n|\n)+)", re.MULTILINE)


class CallArguments(griffe.Extension):
    """Gives each argument a line of its own; the parser knows no section of this name."""

    def on_class_instance(self, *, cls, **_):
        """Changes the docstring of a class before it is parsed."""
        if cls.docstring:
            cls.docstring.value = _SECTION.sub(_as_list, cls.docstring.value + "\n").rstrip()


def _as_list(match):
    text = re.sub(r"^    (\w+): ", r"    - `\1`: ", match[1], flags=re.MULTILINE)
    return f"Call arguments:\n{text}"
