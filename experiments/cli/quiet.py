"""Keeps TensorFlow's start-up lines from coming before a program's own.

TensorFlow says on standard error, before any program of ours can ask it not to, how it was built
and that there is no GPU. `TF_CPP_MIN_LOG_LEVEL` stops the later ones, but not those.
"""

import contextlib
import importlib.abc
import importlib.util
import os
import re
import subprocess
import sys

_PATIENCE = 10  # seconds
_END = b"\0"  # the last byte where all went well; TensorFlow writes none
_START_UP = re.compile(
    rb"""
    WARNING:\ All\ log\ messages\ before\ absl::InitializeLog
    | I\d{4}\ \d\d:\d\d:\d\d                        # information, in the form of absl
    | \d{4}-\d\d-\d\d\ \d\d:\d\d:\d\d\.\d+:\ I\     # and in that of older parts
    | To\ enable\ the\ following\ instructions:     # the second line of one about the processor
    | .*failed\ call\ to\ cuInit:.*\((303|100)\)    # no driver, or no GPU that may be used
    | .*Unable\ to\ register\ cu(DNN|BLAS|FFT)\ factory
    | .*computation\ placer\ already\ registered
    """,
    re.VERBOSE,
)


@contextlib.contextmanager
def quietly():
    """Within it, TensorFlow's start-up lines are taken out of standard error.

    All other lines come at its end, and all lines where it ends with an error, even in a crash.
    With `TF_CPP_MIN_LOG_LEVEL=0` nothing is taken out.
    """
    reader = None if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0" else _reader()
    if reader is None:
        yield
        return
    shown = os.dup(2)
    os.dup2(reader.stdin.fileno(), 2)
    try:
        yield
        _flush()
        os.write(2, _END)
    finally:
        _flush()
        os.dup2(shown, 2)
        os.close(shown)
        reader.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # where a child of others is left
            reader.wait(_PATIENCE)


class QuietTensorFlow(importlib.abc.MetaPathFinder):
    """In `sys.meta_path`, it makes the first import of TensorFlow a quiet one, wherever that is.

    Programs import TensorFlow late, in the functions that need it, after the flags are checked.
    """

    def find_spec(self, name, path=None, target=None):
        """The specification of TensorFlow, whose loader is quiet; None of every other module."""
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)  # who asks may only want to know whether it is there
        if spec is not None:
            load = spec.loader.exec_module

            def load_quietly(module):
                sys.meta_path.remove(self)
                with quietly():
                    load(module)
                    module.config.list_physical_devices()  # which has lines of its own

            spec.loader.exec_module = load_quietly
        return spec


def without_start_up_lines(text):
    """What TensorFlow and others said, bytes, without the lines that say nothing is wrong."""
    return b"".join(line for line in text.splitlines(keepends=True) if not _START_UP.match(line))


def _reader():
    """A process that reads what is said; one of its own, so that a crash loses none of it."""
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=2,
            start_new_session=True,  # an interrupt is for the program alone
        )
    except OSError:  # standard error is closed, or no process can be started
        return None


def _flush():
    if sys.stderr is not None:
        sys.stderr.flush()


def _main():
    text = sys.stdin.buffer.read()
    if text.endswith(_END):
        text = without_start_up_lines(text.removesuffix(_END))
    with contextlib.suppress(OSError):
        sys.stderr.buffer.write(text)
        sys.stderr.buffer.flush()


if __name__ == "__main__":
    _main()
