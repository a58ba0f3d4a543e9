"""Cache folder of the fused op: where it is, and which of its libraries may be loaded.

It is `$CB_KERAS_CACHE` (an absolute path, or one that starts with `~`), else
`$XDG_CACHE_HOME/cb_keras`, else `~/.cache/cb_keras`. A library is code that runs in this process,
so it is taken from there only where nobody but this user and root can have put it: see `distrust`.
"""

import contextlib
import os
import pathlib
import re
import shutil
import stat
from collections.abc import Iterator
from typing import Any

Library = tuple[pathlib.Path, dict[str, Any]]  # its path and what it says of itself


class CacheError(Exception):
    """There is no usable cache folder; the message says why and what would help."""


def folder() -> pathlib.Path:
    """The cache folder, whether it is there or not.

    Raises:
        CacheError: `CB_KERAS_CACHE` is relative or a URL, or the home directory is not known.
    """
    chosen = os.environ.get("CB_KERAS_CACHE")
    if not chosen:
        xdg = os.environ.get("XDG_CACHE_HOME", "")
        # The XDG specification: a relative path is invalid and has to be ignored.
        return _absolute(xdg if os.path.isabs(xdg) else "~/.cache") / "cb_keras"
    if re.match(r"[A-Za-z][\w+.-]*:/", chosen):
        raise CacheError(
            f"`CB_KERAS_CACHE` must be a folder of this machine, got the URL {chosen!r}; copy the "
            "library to a local folder and name that, or unset it"
        )
    return _absolute(chosen)


def make_folder() -> pathlib.Path:
    """The cache folder, made if need be.

    Raises:
        CacheError: As in `folder`; or nothing that is put there would be loaded.
        OSError: It can't be made.
    """
    path = folder()
    for place in [*reversed(path.parents), path]:
        if not place.exists():
            place.mkdir(mode=0o755, exist_ok=True)  # whatever the umask: see `distrust`
    reason = distrust(pathlib.Path(os.path.realpath(path)))
    if reason:
        raise CacheError(
            f"{reason}; set CB_KERAS_CACHE to a folder that this user alone can write to"
        )
    return path


def build(builder: Any, toolchain: Any) -> pathlib.Path:
    """Path of the toolchain's library in the cache, built there unless it is there and whole.

    Of several processes that call it at once one builds, the others wait for it.

    Raises:
        CacheError: As in `make_folder`.
        OSError: A file can't be written.
        ops.compilers.BuildError: It can't be compiled.
    """
    library = make_folder() / f"{toolchain.key}.so"
    if _is_built(library, builder, toolchain):
        return library
    with _locked(library.with_suffix(".lock")) as alone:
        if not _is_built(library, builder, toolchain):
            # Left by builds that were killed: with the lock, nobody builds this library now.
            for left in library.parent.glob(f".building.{library.stem}.*") if alone else ():
                shutil.rmtree(left, ignore_errors=True)
            builder.build(toolchain, library)
    return library


def libraries(
    builder: Any, own: pathlib.Path, wanted: dict[str, Any]
) -> tuple[list[Library], list[str]]:
    """The package's own library, then those of the cache, and why others were left out.

    Args:
        builder: The module ops.build.
        own: Path of the package's library, which is trusted as the package is.
        wanted: What the description of a library must hold.
    """
    candidates, reasons = _trusted()
    found = []
    for path in [own, *candidates]:
        try:
            content = path.read_bytes() if path.is_file() else None
        except FileNotFoundError:  # it was there a moment ago
            continue
        except OSError as error:
            reasons.append(f"{path} can't be read ({error.strerror})")
            continue
        if content is None:
            continue
        description = builder.description_in(content)
        if description is not None and not wanted.items() <= description.items():
            continue  # another version's, whole or not: its digest need not be computed
        if description is None or not builder.is_whole(content):
            reasons.append(f"{path} is damaged or not a library of this version")
        else:
            found.append((path, description))
    return found, reasons


def distrust(path: pathlib.Path) -> str | None:
    """Why somebody else may have written what lies at a real path, or None.

    A file and the folder that it lies in must belong to this user or root, and neither they nor
    any folder above them may be one that everybody can write to. A folder with the sticky bit, like
    /tmp, may: there nobody can replace the files of others. Groups are trusted, since many systems
    give each user a group of their own and let it write.
    """
    user = os.geteuid()
    for place in [path] if path.is_dir() else [path, path.parent]:
        owner = place.stat().st_uid
        if owner not in (user, 0):
            return f"{place} belongs to user {owner}, neither to this user ({user}) nor to root"
    for place in (path, *path.parents):
        mode = place.stat().st_mode
        if mode & stat.S_IWOTH and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
            return f"everybody can write to {place} (chmod o-w makes it this user's)"
    return None


def _trusted() -> tuple[list[pathlib.Path], list[str]]:
    """Real paths of the files `*.so` in the cache that may be loaded, and why others may not."""
    trusted, reasons = [], []
    try:
        paths = sorted(entry.path for entry in os.scandir(folder()) if entry.name.endswith(".so"))
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"the cache folder {error.filename} can't be read ({error.strerror})"]
    except CacheError as error:
        return [], [str(error)]
    for path in paths:
        try:
            library = pathlib.Path(os.path.realpath(path))
            reason = distrust(library) if library.is_file() else None
            if reason is None:
                trusted.append(library)
            else:
                reasons.append(f"{path} is not loaded: {reason}")
        except OSError as error:
            reasons.append(f"{path} can't be read ({error.strerror})")
    return trusted, reasons


def _is_built(library: pathlib.Path, builder: Any, toolchain: Any) -> bool:
    try:
        real = pathlib.Path(os.path.realpath(library))
        return not distrust(real) and builder.describe(real) == toolchain.description
    except OSError:
        return False


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> Iterator[bool]:
    """Holds the lock file; yields False, and holds nothing, where the file system has no locks."""
    import fcntl

    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            alone = True
        except OSError:
            alone = False
        yield alone


def _absolute(path: str) -> pathlib.Path:
    expanded = os.path.expanduser(path)
    if os.path.isabs(expanded):
        return pathlib.Path(expanded)
    if path.startswith("~"):
        raise CacheError(
            f"the home directory in {path!r} is not known; set CB_KERAS_CACHE to an absolute path"
        )
    raise CacheError(
        f"`CB_KERAS_CACHE` must be an absolute path or start with ~, got {path!r}: a relative one "
        "would be another folder in every working directory; give the whole path"
    )
