"""Where a user wants something written: whether it can be, before work is lost."""

import contextlib
import os
import tempfile

from experiments.cli import UserError, local_path
from experiments.runs.atomic import write_atomically


def check_writable(folder):
    """Makes the folder where it is absent; raises UserError unless files can be made in it.

    Returns:
        Folders that it made, the innermost first.
    """
    made = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"--output_dir={folder} can't be written ({error.strerror}); choose another folder."
        ) from error
    return made


def remove_empty(folders):
    """Removes folders, in this order, up to the first that is not empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def output_problem(path, name="--output"):
    """Why no file can be written at `path`, in words that begin with the flag's; None if it can."""
    try:
        path = local_path(name, path)
        if path.is_dir():
            return f"{name}={path} is a folder; name a file."
        if path.exists() and not path.is_file():
            return f"{name}={path} is a device or a pipe; name a file."
        with tempfile.TemporaryFile(dir=path.resolve().parent):
            return None
    except UserError as error:
        return str(error)
    except OSError as error:
        reason = f"{path.parent}: {error.strerror}"
        return f"{name}={path} can't be written ({reason}); choose another folder."


def write_output(path, content, name="--output"):
    """Writes bytes to the file that a user named; where that is a link, to what it points to."""
    write_atomically(local_path(name, path).resolve(), content)
