"""How a program tells its user what is wrong."""

import errno
import os
import re
import sys

# What a full or closed file system says, and what to do about it.
_SPACE = "free some space there, then run the same command again, a training with --resume."
_ACCESS = "make it readable and writable, or choose another folder."
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _SPACE),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), _ACCESS),
}


class UserError(Exception):
    """A mistake that the user can mend; its message names the argument, the value and the fix."""


def in_a_line(error):
    """An error of any library as one line, "ValueError: what it says"; of ours, what it says."""
    words = " ".join(str(error).split())
    if words and isinstance(error, UserError):
        return words
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def of_file_system(error):
    """One line on an error of the file system that the user can mend, or None for any other."""
    if isinstance(error, OSError):
        number, words, path = error.errno, error.strerror, error.filename
    else:  # TensorFlow's own errors say "/a/file; No space left on device"
        number = next((n for n in _REMEDIES if f"; {os.strerror(n)}" in str(error)), None)
        words = os.strerror(number or 0)
        found = number and re.search(rf"(\S+); {re.escape(words)}", str(error))
        path = found and found[1]
    if number not in _REMEDIES:
        return None
    return f"{path or 'the output folder'}: {words}; {_REMEDIES[number]}"


def fail(error, status=2):
    """Ends the program with one line about the error."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(status)
