"""Standard output and standard error such that writing to them never ends a training."""

import errno
import io
import os
import sys


def open_streams():
    """Replaces both by such streams, even where one of them was closed."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed, which must not end a training either
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    for name in ("stdout", "stderr"):
        setattr(sys, name, _that_ends_nothing(getattr(sys, name)))


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
