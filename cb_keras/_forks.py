"""Whether this process was forked since the package was imported."""

import os

_is_child = False


def is_child() -> bool:
    """Whether it is a child, in which none of its parent's threads run."""
    return _is_child


def _note() -> None:
    global _is_child
    _is_child = True


os.register_at_fork(after_in_child=_note)
