"""The decoded images of a folder, kept in a file that is mapped into memory.

Where: `--data_dir`, else `$CB_KERAS_CACHE`, else `$XDG_CACHE_HOME/cb_keras`, else
`~/.cache/cb_keras`; there in `images/NAME-DIGEST/FILES/`, with digests of the folder's path and of
the names, sizes and times of its files: `headers.json`, and a folder for each size and number of
channels with `images.npy`. Each appears when it is whole.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import pathlib
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from experiments.cli import UserError
from experiments.datasets.folder import decode
from experiments.datasets.folder.progress import Progress
from experiments.datasets.rows import row_digest
from experiments.runs import atomic
from experiments.runs.lock import Lock

_CHUNK = 128  # files between two looks at the results


@dataclasses.dataclass(frozen=True)
class Headers:
    """What the headers of all files say.

    Attributes:
        smallest: `(height, width)` of the smallest image, by area.
        largest: Of the largest.
        one_size: Whether all have the same.
        gray: Whether no image has a colour; files of colour may hold gray images.
        bad: Dict of path to the reason why it can't be opened.
    """

    smallest: tuple
    largest: tuple
    one_size: bool
    gray: bool
    bad: dict


@dataclasses.dataclass(frozen=True)
class Cached:
    """All images of a listing: `[M, H, W, channels]`, `[M, 16]`, and path to reason of the bad."""

    images: np.ndarray
    digests: np.ndarray
    bad: dict


class Cache:
    """The decoded images of one `Listing`.

    Args:
        listing: `listing.Listing`.
        name: What progress and errors call it.
        data_dir: Folder to keep it in; None for the user's own cache.
    """

    def __init__(self, listing, name, data_dir=None):
        self.listing, self.name = listing, name
        of_root = hashlib.blake2b(os.fsencode(listing.root), digest_size=4).hexdigest()
        place = _place(data_dir) / "images"
        self.of_root = place / f"{listing.root.name or 'root'}-{of_root}"
        self.folder = self.of_root / f"{listing.digest()}-{decode.RULE}"

    def headers(self):
        """`Headers` of all files, read once."""
        path = self.folder / "headers.json"
        if not path.exists():
            with self._locked():
                if not path.exists():
                    content = json.dumps(_headers(self.listing, self.name)).encode()
                    atomic.write_atomically(path, content)
        return Headers(**json.loads(path.read_bytes()))

    def images(self, size, channels):
        """`Cached` images at a size, decoded once.

        Args:
            size: `(height, width)`.
            channels: 1 or 3.
        """
        folder = self.folder / f"{size[0]}x{size[1]}x{channels}"
        if not folder.exists():
            with self._locked():
                if not folder.exists():
                    self._build(folder, size, channels)
        return Cached(
            np.load(folder / "images.npy", mmap_mode="r"),
            np.load(folder / "digests.npy"),
            json.loads((folder / "bad.json").read_bytes()),
        )

    def _build(self, folder, size, channels):
        shape = (len(self.listing.files), *size, channels)
        needed, free = math.prod(shape), shutil.disk_usage(self.folder).free
        if needed > free:
            raise UserError(
                f"{self.name}: the decoded images need {_bytes(needed)} in {self.of_root}, "
                f"where {_bytes(free)} are free: free some space, or choose another folder "
                "with --data_dir, or a smaller --image_size."
            )
        temporary = folder.with_name(folder.name + ".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        print(f"{self.name}: decoding {shape[0]} images to {folder} ({_bytes(needed)})")
        try:
            digests, bad = _decode_all(self.listing, temporary / "images.npy", shape, self.name)
            np.save(temporary / "digests.npy", digests)
            (temporary / "bad.json").write_text(json.dumps(bad))
            atomic.sync_tree(temporary)
            temporary.rename(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        atomic.sync_folder(folder.parent)

    @contextlib.contextmanager
    def _locked(self):
        """Of several processes one decodes, the others wait; what is out of date goes."""
        try:
            self.of_root.mkdir(parents=True, exist_ok=True)
            lock = Lock(self.of_root, patience=math.inf)
        except OSError as error:
            raise UserError(
                f"{self.name}: the decoded images can't be kept in {self.of_root} "
                f"({error.strerror}); choose another folder with --data_dir."
            ) from error
        try:
            for old in self.of_root.iterdir():
                if old != self.folder:  # of the files as they were; who reads them still can
                    shutil.rmtree(old, ignore_errors=True)
            self.folder.mkdir(exist_ok=True)
            atomic.remove_temporaries(self.folder)
            yield
        finally:
            lock.release()


def _place(data_dir):
    """The folder that caches are kept in."""
    if data_dir is not None:
        return pathlib.Path(data_dir)
    from cb_keras.fused import cache

    try:
        return cache.folder()
    except cache.CacheError as error:
        raise UserError(f"{error}; or name a folder for decoded images with --data_dir.") from error


def _headers(listing, name):
    """The attributes of `Headers` as a dict."""

    def read(file):
        try:
            return decode.header(listing.root / file.path)
        except Exception as error:  # Pillow has errors of many kinds
            return _reason(error)

    found, coloured, bad = set(), [], {}
    for files, results in _in_threads(read, listing.files, f"{name}: headers"):
        for file, result in zip(files, results, strict=True):
            if isinstance(result, str):
                bad[file.path] = result
            else:
                found.add(result[:2])
                if not result[2]:
                    coloured.append(file)
    sizes = sorted(found, key=math.prod) or [(0, 0)]
    return {
        "smallest": sizes[0],
        "largest": sizes[-1],
        "one_size": len(sizes) == 1,
        "gray": not _any_has_colour(listing, coloured, name),
        "bad": bad,
    }


def _any_has_colour(listing, files, name):
    """Whether any of the files has a colour; the first few tell it of most sets."""

    def look(file):
        return decode.has_colour(listing.root / file.path)

    looks = _in_threads(look, files, f"{name}: colours")
    return any(any(results) for _, results in looks)


def _decode_all(listing, path, shape, name):
    """Writes `images.npy`; returns `(digests [M, 16], dict of path to reason)`."""
    images = np.lib.format.open_memmap(path, "w+", "uint8", shape)
    if hasattr(os, "posix_fallocate"):  # a full disk found later is a signal that ends the process
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    digests, bad = np.zeros((shape[0], 16), "uint8"), {}

    def fill(position):
        file = listing.files[position]
        try:
            image = decode.decode(listing.root / file.path, shape[-1])
            images[position] = decode.pixels(image, shape[1:3])
        except Exception as error:  # Pillow has errors of many kinds
            bad[file.path] = _reason(error)
        digests[position] = np.frombuffer(row_digest(images[position]), "uint8")

    for _ in _in_threads(fill, range(shape[0]), f"{name}: decoding"):
        pass
    images.flush()
    return digests, bad


def _in_threads(function, items, what):
    """Calls the function with every item, on all cores; gives `(items, results)` of some at once.

    Pillow decodes and resizes outside of Python's global lock.
    """
    progress = Progress(what, len(items))
    # A warning of a file's odd metadata is not about its pixels.
    with warnings.catch_warnings(), ThreadPoolExecutor(_cores()) as pool:
        warnings.simplefilter("ignore")
        for start in range(0, len(items), _CHUNK):
            some = items[start : start + _CHUNK]
            yield some, list(pool.map(function, some))
            progress.reached(start + len(some))


def _cores():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _reason(error):
    return " ".join(str(error).split()) or "not an image"


def _bytes(number):
    return f"{number / 1e9:.1f} GB" if number >= 5e7 else f"{number / 1e6:.1f} MB"
