"""How every program starts, and how it tells its user what is wrong."""

import sys

from absl import app, logging


class UserError(Exception):
    """A mistake that the user can mend; its message names the argument, the value and the fix."""


def run(main):
    """Runs `main(argv)` under absl; a `UserError` becomes one line and exit status 2."""

    def guarded(argv):
        if len(argv) > 1:
            _fail(f"unexpected argument {argv[1]!r}: all settings are flags, --name=value.")
        try:
            main(argv)
        except UserError as error:
            _fail(error)
        except KeyboardInterrupt:
            print("\ninterrupted", file=sys.stderr)
            sys.exit(130)

    logging.set_verbosity(logging.WARNING)  # Keras reports every file that it saves at INFO
    app.run(guarded)


def _fail(error):
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
