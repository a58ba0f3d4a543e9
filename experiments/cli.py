"""How every program starts, and how it tells its user what is wrong."""

import errno
import io
import os
import pathlib
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
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed, which must not end a training either
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    for name in ("stdout", "stderr"):
        setattr(sys, name, _that_ends_nothing(getattr(sys, name)))
    try:
        app.run(guarded, [sys.argv[0], *with_flagfiles(sys.argv[1:])])
    except UserError as error:
        _fail(error)
    except ValueError as error:
        if flags.FLAGS.is_parsed():
            raise
        _fail(f"{error}.")  # a mistake in the flags that absl takes for its own, as --noplots=1


def _that_ends_nothing(stream):
    """The stream, such that neither a character that it lacks nor a closed pipe ends a training."""
    if not hasattr(stream, "reconfigure"):
        return stream
    try:
        raw = _Output(stream)
    except OSError:  # something that a test put there
        stream.reconfigure(errors="backslashreplace")
        return stream
    stream.flush()
    return io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Output(io.FileIO):
    """What a stream writes to; where nobody reads it any longer, as after `| head`, nowhere."""

    def __init__(self, stream):
        super().__init__(stream.fileno(), "w", closefd=False)
        self._stream = stream  # which closes the file when it goes
        # Of a terminal that is gone; on a disk it would be damage.
        self._gone = {errno.EPIPE, *([errno.EIO] if self.isatty() else [])}

    def write(self, data):
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in self._gone:
                raise
            with open(os.devnull, "wb") as nowhere:  # also for what is not written by Python
                os.dup2(nowhere.fileno(), self.fileno())
            return len(data)


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


def local_path(name, value):
    """The path of a local file or folder that a user gave, with `~` and `~user` expanded.

    Args:
        name: What it was given as, such as `--output_dir`.
        value: The path as it was given, or None.

    Returns:
        `pathlib.Path`, or None for None. Given as a path again it is the same.

    Raises:
        UserError: It is empty, a URL, of an unknown user, or no program could write it.
    """
    if value is None:
        return None
    value = os.fspath(value)
    path = os.path.expanduser(value)
    if not value.strip():
        raise UserError(f"{name} is empty; name a local path, or leave {name} out.")
    if value != value.strip() or re.search(r"[\x00-\x1f\x7f]", value):
        raise UserError(
            f"{name}={value!r} begins or ends with white space or holds a control character; leave "
            "that out."
        )
    if url := re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", value):
        remedy = (
            f"leave {url[0]} out"
            if url[1].lower() == "file"
            else "name a local path, and copy from it or to it"
        )
        raise UserError(f"{name}={value} is a URL; these programs use local files: {remedy}.")
    if path.startswith("~") or (value[:2] in ("~", "~/") and not os.environ.get("HOME", "~")):
        raise UserError(
            f"{name}={value}: the home folder is not known here; give the whole path, or "
            f"./{value} for a folder that is named so."
        )
    try:
        os.fsencode(path.encode().decode())
    except UnicodeError as error:
        raise UserError(
            f"{name}={value!a} is not a name in {sys.getfilesystemencoding()}, the encoding of "
            "file names here: set PYTHONUTF8=1, or choose a name of ASCII letters."
        ) from error
    local = pathlib.Path(path)
    # Without its "./" the name "~x" would be the home folder of x from here on.
    return local.absolute() if str(local).startswith("~") else local


def check_loadable(name, value):
    """Refuses a folder below which TensorFlow can't load a SavedModel, for its loader takes the
    path of the weights as a pattern, whose `[...]` and backslashes stand for something else.

    Args:
        name: What it was given as, such as `--output_dir`.
        value: The path; that of the current folder belongs to it where it is relative.

    Raises:
        UserError: The absolute path holds `[...]` or a backslash.
    """
    path = os.path.abspath(value)
    if re.search(r"\[.*\]|\\", path):
        raise UserError(
            f"{name}={value}: TensorFlow can't load a SavedModel from a path with square brackets "
            f"or a backslash, such as {path}; choose or rename the folder so that it has none."
        )


def counted(number, word):
    """A number and what it is of: "1 epoch", "2 epochs"."""
    return f"{number} {word}{'s' if number != 1 else ''}"


def _of_file_system(error):
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


def _fail(error):
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
