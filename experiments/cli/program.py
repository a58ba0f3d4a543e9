"""How every program starts and ends."""

import signal
import sys

from absl import app, flags, logging

from experiments.cli import help_text
from experiments.cli.errors import UserError, fail, of_file_system
from experiments.cli.flagfiles import remember, with_flagfiles
from experiments.cli.quiet import QuietTensorFlow
from experiments.cli.streams import open_streams
from experiments.cli.xla import avoid_broken_fusions


def run(main, arguments=(), groups=None):
    """Runs `main(argv)` under absl; a `UserError` becomes one line and exit status 2.

    So does an error of a file system that is full or may not be written. `--help` prints the
    program's flags before anything is checked or imported.

    Args:
        main: Function of `[program, *arguments]`.
        arguments: Names of the positional arguments that the program takes, all of them required;
            of one that ends in "..." there may be more.
        groups: Dict of title to the names of the flags that `--help` lists under it, in order; None
            where they are too few for groups.
    """

    def parsed(argv):
        if help_text.is_asked_for(argv[1:]):
            print(help_text.of_program(arguments, groups))
            sys.exit(0)
        try:
            return flags.FLAGS(argv)
        except flags.Error as error:
            fail(error, status=1)

    signal.signal(signal.SIGTERM, _interrupt)  # as of a cluster that wants the machine back
    logging.set_verbosity(logging.WARNING)  # Keras reports every file that it saves at INFO
    open_streams()
    avoid_broken_fusions()
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, QuietTensorFlow())
    try:
        remember(sys.argv[1:])
        argv = [sys.argv[0], *with_flagfiles(sys.argv[1:])]
        app.run(_guarded(main, arguments), argv, flags_parser=parsed)
    except UserError as error:
        fail(error)
    except ValueError as error:
        if flags.FLAGS.is_parsed():
            raise
        fail(f"{error}.")  # a mistake in the flags that absl takes for its own, as --noplots=1
    finally:
        remember(None)


def _interrupt(*_):
    raise KeyboardInterrupt


def _guarded(main, arguments):
    """`main` as a function of argv that checks the arguments and tells errors in one line."""

    def guarded(argv):
        _check_arguments(argv[1:], arguments)
        try:
            main(argv)
        except UserError as error:
            fail(error)
        except ImportError as error:
            if "cb_keras needs Keras" not in str(error):
                raise
            fail(error)
        except Exception as error:
            message = of_file_system(error)
            if message is None:
                raise
            fail(message)
        except KeyboardInterrupt as interrupt:  # its text says how to go on
            print("\n" + ": ".join(filter(None, ("interrupted", str(interrupt)))), file=sys.stderr)
            sys.exit(130)

    return guarded


def _check_arguments(given, names):
    if len(given) > len(names) and not (names and names[-1].endswith("...")):
        others = f"besides {' '.join(names)} all" if names else "all"
        unexpected = given[len(names)]
        fail(f"unexpected argument {unexpected!r}: {others} settings are flags, --name=value.")
    if len(given) < len(names):
        missing = " ".join(names[len(given) :]).removesuffix("...")
        fail(f"{missing} is missing: give it after the program.")
