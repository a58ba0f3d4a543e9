"""Files that are written whole or not at all, whenever the process or the machine stops."""

import contextlib
import os
import pathlib
import tempfile


TEMPORARY = ".unfinished-"


@contextlib.contextmanager
def appears_whole(path, keep_as=None):
    """A temporary path beside `path` to write a file to, which then takes its place at once.

    `path` holds the old content or the new, never a part of it, whenever the process or the machine
    stops. The temporary name ends as `path` does, for writers that look at it. With `keep_as`, a
    path in the same folder, the old content stays there once the new is safe on the disk.
    """
    path = pathlib.Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY, suffix=path.suffix)
    try:
        os.close(handle)
        yield pathlib.Path(name)
        with open(name, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        if keep_as and path.exists():
            os.replace(path, keep_as)
        os.replace(name, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(name)
        if isinstance(error, OSError):
            error.filename = str(path)  # a write that fails does not say where
        raise
    sync_folder(path.parent)


def write_atomically(path, content):
    """Writes bytes so that `path` holds the old content or the new, never a part of it."""
    with appears_whole(path) as temporary:
        temporary.write_bytes(content)


def sync_folder(folder):
    """Makes the names in a folder survive a power failure, as `fsync` does for content."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder):
    """Makes a folder, and all that is in it, survive a power failure."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)


def remove_temporaries(folder, below=()):
    """Deletes what a killed process was about to write; the folder must be locked.

    Args:
        folder: The folder.
        below: Names of the folders in it to be cleared to the bottom. In any other one there may
            be a run that is at work, under a lock of its own.
    """
    pattern = f"{TEMPORARY}*"
    inside = (path for name in below for path in (folder / name).rglob(pattern))
    for path in [*folder.glob(pattern), *inside]:
        path.unlink(missing_ok=True)


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
