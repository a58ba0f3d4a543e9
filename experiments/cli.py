"""How every program starts, and how it tells its user what is wrong."""

import errno
import os
import re
import sys

from absl import app, flags, logging

# What a full or closed file system says, and what to do about it.
_SPACE = "free some space there, then run the same command again, a training with --resume."
_ACCESS = "make it readable and writable, or choose another folder."
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _SPACE),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), _ACCESS),
}


class UserError(Exception):
    """A mistake that the user can mend; its message names the argument, the value and the fix."""


def run(main, arguments=()):
    """Runs `main(argv)` under absl; a `UserError` becomes one line and exit status 2.

    So does an error of a file system that is full or may not be written.

    Args:
        main: Function of `[program, *arguments]`.
        arguments: Names of the positional arguments that the program takes, all of them required.
    """

    def guarded(argv):
        given = argv[1:]
        if len(given) > len(arguments):
            others = f"besides {' '.join(arguments)} all" if arguments else "all"
            unexpected = given[len(arguments)]
            _fail(f"unexpected argument {unexpected!r}: {others} settings are flags, --name=value.")
        if len(given) < len(arguments):
            _fail(f"{' '.join(arguments[len(given) :])} is missing: give it after the program.")
        try:
            main(argv)
        except UserError as error:
            _fail(error)
        except Exception as error:
            message = _of_file_system(error)
            if message is None:
                raise
            _fail(message)
        except KeyboardInterrupt:
            print("\ninterrupted", file=sys.stderr)
            sys.exit(130)

    logging.set_verbosity(logging.WARNING)  # Keras reports every file that it saves at INFO
    try:
        app.run(guarded)
    except ValueError as error:
        if flags.FLAGS.is_parsed():
            raise
        # A mistake in the flags that absl takes for its own, such as --noplots=1.
        _fail(f"{'--flagfile: ' if isinstance(error, UnicodeDecodeError) else ''}{error}.")


def _of_file_system(error):
    """One line on an error of the file system that the user can mend, or None for any other."""
    if isinstance(error, OSError):
        number, words, path = error.errno, error.strerror, error.filename
    else:  # TensorFlow's own errors say "/a/file; No space left on device"
        number = next((n for n in _REMEDIES if f"; {os.strerror(n)}" in str(error)), None)
        words = os.strerror(number or 0)
        path = number and re.search(rf"(\S+); {re.escape(words)}", str(error))[1]
    if number not in _REMEDIES:
        return None
    return f"{path or 'the output folder'}: {words}; {_REMEDIES[number]}"


def _fail(error):
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
