"""Images and labels of one's own as arrays in an .npz file."""

import dataclasses
import pathlib
import zipfile

import numpy as np

from experiments.cli import UserError, in_a_line, local_path
from experiments.datasets.class_names import some, tell_untested
from experiments.datasets.data import Data, Split
from experiments.datasets.source import Source
from experiments.datasets.split import apart
from experiments.runs import tails

PREFIX = "npz:"
# Names of the arrays: those of Keras' own files, and of MedMNIST's.
_TRAIN = (("x_train", "y_train"), ("train_images", "train_labels"))
_TEST = (("x_test", "y_test"), ("test_images", "test_labels"))
_WHOLE = (("x", "y"), ("images", "labels"))
_NAMES = "class_names"
_CHANNELS = (1, 3, 4)


def load(name, data_dir=None, download=False, **choices):
    """Reads the arrays of an .npz file into memory.

    `x_train`, `y_train`, `x_test` and `y_test` (or `train_images`, ...), or `x` and `y` (or
    `images` and `labels`), of which a part is split off for the test; `class_names` where there
    are some. Images are uint8 `[N, H, W]` or `[N, H, W, channels]`, labels class ids from 0 or
    names, `[N]` or `[N, 1]`.

    Args:
        name: `npz:FILE`.
        data_dir: Not used.
        download: Not used.
        choices: Of `SOURCE.choices`.

    Returns:
        `Data`.

    Raises:
        UserError: The file can't be read, or holds something else.
    """
    del data_dir, download
    name = canonical(name)
    arrays = _Arrays(name, _read(name))
    train, chosen = arrays.split(_TRAIN), {}
    if train is None:
        whole = arrays.split(_WHOLE)
        if whole is None:
            raise UserError(
                f"--dataset={name} holds {some(sorted(arrays.found))}; x_train, y_train, x_test "
                "and y_test are needed, or x and y."
            )
        names, (whole,) = arrays.classes([whole])
        fraction, seed = choices.get("test_fraction", 0.2), choices.get("split_seed", 0)
        chosen = {"test_fraction": fraction, "split_seed": seed}
        train, test = (whole.take(p) for p in apart(whole.labels, len(names), fraction, seed))
        print(
            f"{name} has no test images: {len(test.labels)} of {len(whole.labels)} are the test "
            f"set, {fraction:g} of every class (--test_fraction, --split_seed={seed})"
        )
    else:
        test = arrays.split(_TEST)
        if test is None:
            raise UserError(
                f"--dataset={name} holds training images but no test images: add x_test and "
                "y_test, or name the arrays x and y for a part of them to be split off."
            )
        names, (train, test) = arrays.classes([train, test])
        if train.images.shape[1:] != test.images.shape[1:]:
            raise UserError(
                f"--dataset={name}: the training images are {train.images.shape[1:]}, the test "
                f"images {test.images.shape[1:]}; images of one size are needed."
            )
    data = Data(name, train, test, names, "crop", choices=chosen)
    tell_untested(data)
    return data


def canonical(name):
    """The name with the absolute path."""
    return f"{PREFIX}{_path(name).absolute().as_posix()}"


def full_name(name, data_dir=None):
    """The `Data.name` of what `load` would read now; None where there is no such file."""
    del data_dir
    return canonical(name) if _path(name).is_file() else None


def check(name):
    """Raises ValueError unless there is such a file."""
    path = _path(name)
    if not path.is_file():
        wrong = "is not a file" if path.exists() else "does not exist"
        raise ValueError(f"{path} {wrong}; name an .npz file, as numpy.savez writes it.")


SOURCE = Source(
    names=f"{PREFIX}FILE",
    title="for arrays of numpy.savez",
    accepts=lambda name: name.startswith(PREFIX) and name != PREFIX,
    load=load,
    full_name=full_name,
    canonical=canonical,
    check=check,
    choices=("test_fraction", "split_seed"),
    long_tail=tails.NATURAL,
)


def _path(name):
    return pathlib.Path(local_path("--dataset", name.removeprefix(PREFIX)))


def _read(name):
    """Dict of the arrays of the file that may be needed."""
    path = _path(name)
    known = {array for pairs in (_TRAIN, _TEST, _WHOLE) for pair in pairs for array in pair}
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            return {n: file[n] if n in {*known, _NAMES} else None for n in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"--dataset={name} can't be read ({in_a_line(error)}): it is not an .npz file, is "
            "damaged, or holds Python objects; write uint8 images and integer labels with "
            "numpy.savez."
        ) from error


@dataclasses.dataclass(frozen=True)
class _Arrays:
    name: str
    found: dict

    def split(self, pairs):
        """`Split` of the first pair of names that is there, labels as they are; None without."""
        for images, labels in pairs:
            if images in self.found and labels in self.found:
                return Split(self._images(images), self._labels(labels, len(self.found[images])))
            if images in self.found or labels in self.found:
                lacking = labels if images in self.found else images
                raise self._error(f"has no {lacking}, which belongs to {images} and {labels}")
        return None

    def _images(self, key):
        images = self.found[key]
        if images.dtype != np.uint8:
            fix = "multiply by 255 and round, if they are from 0 to 1" * (images.dtype.kind == "f")
            raise self._error(
                f"{key} has dtype {images.dtype}; uint8 from 0 to 255 is needed"
                + (f": {fix}" if fix else "")
            )
        if images.ndim == 3:
            images = images[..., None]
        if images.ndim != 4 or 0 in images.shape:
            raise self._error(
                f"{key} has the shape {self.found[key].shape}; images [N, H, W] or "
                "[N, H, W, channels], one at least, are needed"
            )
        if images.shape[1] in _CHANNELS and images.shape[3] > max(_CHANNELS):
            raise self._error(
                f"{key} has the shape {images.shape}, which looks like [N, channels, H, W]; the "
                "channels must be last: save its transpose(0, 2, 3, 1)"
            )
        return images

    def _labels(self, key, number):
        labels = self.found[key]
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim == 2:
            raise self._error(
                f"{key} has the shape {labels.shape}; class ids [N] are needed: if it is one-hot, "
                "save its argmax(axis=1)"
            )
        if labels.dtype.kind not in "iuU" or labels.shape != (number,):
            raise self._error(
                f"{key} has dtype {labels.dtype} and shape {self.found[key].shape}; {number} class "
                "ids or names, one an image, are needed"
            )
        return labels

    def classes(self, splits):
        """`(class names, the splits with class ids from 0)`; training first."""
        texts = [split.labels.dtype.kind == "U" for split in splits]
        if any(texts):
            if not all(texts):
                raise self._error("has labels that are numbers and labels that are names")
            return self._by_name(splits)
        names = self.found.get(_NAMES)
        lowest = min(int(split.labels.min()) for split in splits)
        highest = max(int(split.labels.max()) for split in splits)
        number = highest + 1 if names is None else len(np.atleast_1d(names))
        if lowest < 0 or highest >= number or (lowest == 1 and names is None):
            from_one = "; do they start at 1? subtract 1" if lowest == 1 else ""
            raise self._error(
                f"has labels from {lowest} to {highest}; class ids from 0 to "
                f"{'C - 1' if names is None else number - 1} are needed{from_one}"
            )
        if number < 2:
            raise self._error("has one class; a classifier needs two at least")
        names = range(number) if names is None else np.atleast_1d(names).tolist()
        made = [Split(split.images, split.labels.astype("int32")) for split in splits]
        return [str(name) for name in names], made

    def _by_name(self, splits):
        names = np.unique(splits[0].labels)
        unknown = np.setdiff1d(np.concatenate([split.labels for split in splits]), names)
        if unknown.size:
            raise self._error(
                f"has test labels that the training lacks: {some(unknown.tolist())}; its are "
                f"{some(names.tolist())}"
            )
        if len(names) < 2:
            raise self._error("has one class; a classifier needs two at least")
        made = [Split(s.images, np.searchsorted(names, s.labels).astype("int32")) for s in splits]
        return names.tolist(), made

    def _error(self, words):
        return UserError(f"--dataset={self.name} {words}.")
