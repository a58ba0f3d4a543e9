"""Paths as a user gave them."""

import os
import pathlib
import re
import sys

from experiments.cli.errors import UserError


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
