"""Images per class of a folder of class folders."""

import os
import pathlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
_NO_CLASSES = ("__MACOSX",)
_SPLITS = ("train", "test", "validation", "valid", "val")


def folder_counts(
    folder: "str | os.PathLike[str]", classes: list[Any] | None, ignored: int | str | None
) -> NDArray[np.int64]:
    """Image files below each class folder, at any depth; hidden ones are left out.

    Links are followed, to a folder that was read before not again.

    Args:
        folder: Holds the class folders.
        classes: Their names in the order of the classes; None sorts them.
        ignored: Name of a folder that is not a class, or None.

    Raises:
        ValueError: There are no class folders, an empty one, or others than `classes`.
    """
    root = pathlib.Path(folder).expanduser()
    if not root.is_dir():
        raise ValueError(
            f"`labels` is a path, and {str(root)!r} is not a folder of class folders; for labels "
            "that are text give their list."
        )
    names = [name for name in _folders(root) if name != ignored]
    if not names:
        raise ValueError(
            f"the folder {str(root)!r} holds no class folders: put the images of each class into "
            "a folder of its own there, named as the class."
        )
    if "train" in names and set(names) <= set(_SPLITS):
        raise ValueError(
            f"the folder {str(root)!r} holds {', '.join(names)}: count the classes of one, "
            f"class_counts({str(root / 'train')!r})."
        )
    order = names if classes is None else classes
    if classes is not None and sorted(classes) != names:
        different = sorted(set(classes) ^ set(names))[:5]
        raise ValueError(
            f"`classes` must be the class folders of {str(root)!r} in an order of yours, but "
            f"{', '.join(map(repr, different))} is only in one of them."
        )
    seen = {os.path.realpath(root)}
    found = {name: _images(root / name, seen) for name in names}
    for name in names:
        if not found[name]:
            raise ValueError(
                f"the class folder {str(root / name)!r} holds no images ({', '.join(SUFFIXES)}) of "
                "its own: put some there, or remove it."
            )
    return np.array([found[name] for name in order], "int64")


def _folders(root: pathlib.Path) -> list[str]:
    return sorted(entry.name for entry in _entries(str(root)) if _is_folder(entry))


def _images(top: pathlib.Path, seen: set[str]) -> int:
    count, waiting = 0, [str(top)]
    while waiting:
        folder = waiting.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        for entry in _entries(folder):
            if _is_folder(entry):
                waiting.append(entry.path)
            elif entry.name.lower().endswith(SUFFIXES):
                count += os.path.exists(entry.path)
    return count


def _entries(folder: str) -> "list[os.DirEntry[str]]":
    """What a folder holds and is not hidden."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if _is_shown(entry.name)]
    except OSError as error:
        raise ValueError(f"the folder {folder!r} can't be read ({error.strerror}).") from error


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_shown(name: str) -> bool:
    return not name.startswith(".") and name not in _NO_CLASSES
