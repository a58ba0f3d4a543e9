"""The right to write into a folder."""

import errno
import fcntl
import os
import time
import weakref

from experiments.cli import UserError


class Lock:
    """The right to write into a folder, held by one process until it ends or releases it.

    It is a lock on the folder itself (`flock`), so that a killed process leaves nothing behind.

    Args:
        folder: An existing folder.
        patience: Seconds to wait; a process that was just killed takes a moment to vanish.

    Raises:
        UserError: Another process holds it.
    """

    def __init__(self, folder, patience=5.0):
        descriptor = os.open(folder, os.O_RDONLY)
        self.release = weakref.finalize(self, os.close, descriptor)
        deadline = time.monotonic() + patience
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                self.release()
                raise UserError(
                    f"another process is at work in {folder}; wait for it, stop it, or choose "
                    "another --output_dir."
                )
            time.sleep(0.1)


def _try_lock(descriptor):
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # A file system without locks is no reason to refuse the work.
        return error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
    return True
