"""The image files of a folder of class folders."""

import dataclasses
import hashlib
import os
import pathlib

from experiments.cli import UserError
from experiments.datasets.class_names import some
from experiments.runs.figures import counted

TRAIN = "train"
# The test images, where there is a `train`; the first that is there.
_TESTS = ("test", "validation", "valid", "val")
_OTHER_NAMES = {TRAIN: ("train", "training"), "test": (*_TESTS, "testing")}  # of any case
_NO_CLASSES = ("__MACOSX",)


@dataclasses.dataclass(frozen=True)
class File:
    """An image file: path below the root, class id, bytes, time of the last change in ns."""

    path: str
    class_id: int
    size: int
    changed: int


@dataclasses.dataclass
class Listing:
    """All image files below a folder.

    Attributes:
        root: The folder, a `pathlib.Path`.
        class_names: List of names, sorted; those of the training folders.
        files: List of `File`, those for training first, class by class.
        for_training: How many of `files` come from a folder `train`; None where there is none,
            so that a part is to be split off.
        beside: How many image files lie beside the class folders, which are left out.
        again: How many links lead to images that are listed already, and are left out.
        bad: Dict of path to the reason why it is left out.
        others: How many files of other types were left out, by suffix.
    """

    root: pathlib.Path
    class_names: list
    files: list
    for_training: int | None
    beside: int
    again: int
    bad: dict
    others: dict

    def tell_left_out(self, name):
        """Says what was left out that may have been meant as an image of a class."""
        tell_others(name, self.others)
        if self.beside:
            print(f"{name}: {counted(self.beside, 'image')} beside the class folders left out")
        if self.again:
            links = counted(self.again, "link")
            print(f"{name}: {links} to images that are there already left out")

    def digest(self):
        """Digest of the root and of the files' names, sizes and times, a hexadecimal text."""
        digest = hashlib.blake2b(os.fsencode(self.root), digest_size=12)
        for file in self.files:
            digest.update(os.fsencode(file.path))
            digest.update(f"\0{file.size} {file.changed}\0".encode())
        return digest.hexdigest()


def find(root, suffixes):
    """Lists the image files of a folder of class folders, or of `train` and `test` with those.

    A class folder is searched to any depth. Hidden files and folders are left out; links are
    followed, to a folder or an image that was read before not again.

    Args:
        root: The folder.
        suffixes: Those of image files, in lower case.

    Returns:
        `Listing`.

    Raises:
        UserError: It holds no class folders, an empty one, or test classes without training images.
    """
    return _Finder(root, suffixes).listing()


def tell_others(name, others):
    """Says how many files of other types were left out of a folder.

    Args:
        name: What the folder is called.
        others: How many there were, by suffix; of none nothing is said.
    """
    if others:
        kinds = some([suffix or "without a suffix" for suffix in sorted(others)])
        print(f"{name}: {counted(sum(others.values()), 'file')} of other types left out: {kinds}")


class _Finder:
    def __init__(self, root, suffixes):
        self.root = pathlib.Path(root)
        self.suffixes = suffixes
        self.name = f"--dataset=folder:{root}"
        self.bad, self.others = {}, {}
        self.seen = {os.path.realpath(root)}
        self.beside, self.paths, self.links = set(), set(), {}

    def listing(self):
        parts = self._folders(self.root)
        if TRAIN not in parts:
            if found := [name for name in _TESTS if name in parts]:
                raise UserError(
                    f"{self.name} has {found[0]}/ but no train/: put the training images into "
                    "train/CLASS/, or name the folder that holds the class folders."
                )
            self._refuse_other_names(parts)
            names, files = self._classes(self.root, None)
            return self._made(names, files, None)
        test = next((name for name in _TESTS if name in parts), None)
        if test is None:
            raise UserError(
                f"{self.name} has train/ but no test/; for a part of the images to be split off "
                f"for the test, name the class folders: --dataset=folder:{self.root / TRAIN}"
            )
        if unused := sorted({*parts} - {TRAIN, test}):
            print(f"{self.name}: {some(unused)} next to {TRAIN}/ and {test}/ not used")
        names, files = self._classes(self.root / TRAIN, None)
        _, of_test = self._classes(self.root / test, names)
        return self._made(names, files + of_test, len(files))

    def _refuse_other_names(self, parts):
        """Refuses folders that are meant as `train` and `test`, and would be two classes."""
        found = [
            [part for part in parts if part.lower() in names] for names in _OTHER_NAMES.values()
        ]
        if all(found):
            train, test = (names[0] for names in found)
            raise UserError(
                f"{self.name} has {train}/ and {test}/, which would be taken for classes: rename "
                f"them to {TRAIN}/ and test/; or, if they are classes, to something else."
            )

    def _made(self, names, files, for_training):
        again = self._read_again()
        parts = [files[:for_training], files[for_training:] if for_training is not None else []]
        for part in parts:
            own = {file.class_id for file in part if file.path not in again}
            if empty := sorted({file.class_id for file in part} - own):
                linked = some([f.path for f in part if f.class_id in empty][:1])
                raise UserError(
                    f"{self.name}: all images of {some([names[c] for c in empty])} there, such as "
                    f"{linked}, are links to images that are listed elsewhere in it; give each "
                    "class, for training and for the test, images of its own."
                )
        if for_training is not None:
            for_training -= sum(file.path in again for file in parts[0])
        kept = [file for file in files if file.path not in again]
        left_out = len(self.beside), len(again), self.bad, self.others
        return Listing(self.root, names, kept, for_training, *left_out)

    def _read_again(self):
        """Paths of the links to what is listed, by itself or by a link before them."""
        again = set()
        for path, real in self.links.items():
            if real in self.paths:
                again.add(path)
            self.paths.add(real)
        return again

    def _classes(self, folder, known):
        """`(class names, files)` of the class folders in a folder."""
        names = self._folders(folder)
        if not names:
            raise UserError(
                f"{self.name}: {folder} holds no class folders; put the images of each class into "
                "a folder of its own there, named as the class."
            )
        if known is None and len(names) < 2:
            raise UserError(
                f"{self.name}: {folder} has one class folder, {names[0]!r}; a classifier needs two "
                "at least."
            )
        if unknown := [name for name in names if name not in (known or names)]:
            raise UserError(
                f"{self.name}: {folder} has classes that {TRAIN}/ lacks: {some(unknown)}; its are "
                f"{some(known)}. Rename or remove those folders."
            )
        files = []
        for name in names:
            class_id = (known or names).index(name)
            before = len(files), len(self.bad)
            files += self._images(folder / name, class_id)
            if (len(files), len(self.bad)) == before:
                raise UserError(
                    f"{self.name}: the class folder {folder / name} holds no images "
                    f"({', '.join(self.suffixes)}) of its own; put some there, or remove it."
                )
        return names, files

    def _folders(self, folder):
        """Names of the folders in a folder, sorted, that are not hidden."""
        try:
            with os.scandir(folder) as entries:
                shown = [e for e in entries if _is_shown(e.name)]
            found = sorted(e.name for e in shown if e.is_dir())
        except OSError as error:
            raise UserError(f"{self.name}: {folder} can't be read ({error.strerror}).") from error
        if wrong := [name for name in found if not name.isprintable()]:
            raise UserError(
                f"{self.name}: {folder} has class folders whose names hold what can't be printed: "
                f"{some(wrong)}; rename them."
            )
        files = {e.name for e in shown} - {*found}
        self.beside |= {
            folder / x for x in files if pathlib.Path(x).suffix.lower() in self.suffixes
        }
        return found

    def _images(self, top, class_id):
        """`File` of every image at any depth below a class folder, in the order of the paths."""
        found, waiting = [], [top]
        while waiting:
            folder = waiting.pop()
            real = os.path.realpath(folder)
            if real in self.seen:
                continue
            self.seen.add(real)
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                self.bad[str(folder.relative_to(self.root))] = error.strerror
                continue
            for entry in entries:
                if not _is_shown(entry.name):
                    continue
                if entry.is_dir():
                    waiting.append(folder / entry.name)
                elif file := self._file(folder / entry.name, class_id):
                    found.append(file)
                    if entry.is_symlink():
                        self.links[file.path] = os.path.realpath(entry.path)
                    else:
                        self.paths.add(os.path.join(real, entry.name))
        return sorted(found, key=lambda file: file.path)

    def _file(self, path, class_id):
        suffix = path.suffix.lower()
        if suffix not in self.suffixes:
            self.others[suffix] = self.others.get(suffix, 0) + 1
            return None
        relative = path.relative_to(self.root).as_posix()
        try:
            status = path.stat()
        except OSError as error:  # such as a link to nothing
            self.bad[relative] = error.strerror
            return None
        return File(relative, class_id, status.st_size, status.st_mtime_ns)


def _is_shown(name):
    return not name.startswith(".") and name not in _NO_CLASSES
