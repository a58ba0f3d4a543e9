"""Image files of any size, asked one by one what a model says about them."""

import collections
import os
import pathlib

import numpy as np

from experiments import cli

BATCH = 100  # files that are decoded at a time


def find(names):
    """Paths of the files that a user named, and of all images at any depth in the folders.

    Hidden files and folders are left out, and no link to a folder inside one is followed. How many
    files of other types a folder holds is said.

    Args:
        names: Names of files and folders, as they were given.

    Returns:
        List of `pathlib.Path`, those of a folder sorted.

    Raises:
        UserError: There is no such file, or a folder holds no image.
    """
    from experiments.datasets.folder import decode

    found = []
    for name in names:
        path = cli.local_path("FILES", name)
        if path.is_dir():
            found += _inside(path, decode.SUFFIXES)
        elif path.is_file():
            found.append(path)
        else:
            raise cli.UserError(f"{name} is not a file or a folder; give image files.")
    return found


def _inside(folder, suffixes):
    from experiments.datasets.folder import listing

    found, others = [], collections.Counter()
    for inside, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (pathlib.Path(inside, n) for n in sorted(names) if not n.startswith(".")):
            if (suffix := path.suffix.lower()) in suffixes:
                found.append(path)
            else:
                others[suffix] += 1
    listing.tell_others(folder, others)
    if not found:
        kinds = ", ".join(suffixes)
        raise cli.UserError(f"{folder} holds no image file ({kinds}); give another folder.")
    return found


class Reader:
    """Reads files as a model takes them, and counts what it had to change for that.

    Args:
        shape: `(height, width, channels)` that the model takes; None for sides of any size.

    Attributes:
        unreadable: Dict of path to why it can't be read.
        resized: How many images were of another size than the model takes.
        recolored: How many had colours that the model does not take, or lacked those it takes.
    """

    def __init__(self, shape):
        *size, self._channels = shape
        self._size = None if None in size else tuple(size)
        self.unreadable = {}
        self.resized = self.recolored = 0
        if self._channels not in (1, 3):
            raise cli.UserError(
                f"the model takes images of {self._channels} channels, which image files do not "
                "have: give one of 1 or 3."
            )

    def read(self, path):
        """Pixels uint8 `[height, width, channels]` of a file; None where it can't be read."""
        from experiments.datasets.folder import decode

        try:
            *size, gray = decode.header(path)
            image = decode.decode(path, self._channels)
        # Pillow has errors of many kinds for a file that is not an image.
        except Exception as error:
            self.unreadable[path] = cli.in_a_line(error)
            return None
        size = tuple(size)
        self.resized += self._size not in (None, size)
        self.recolored += gray != (self._channels == 1)
        return decode.pixels(image, self._size or size)

    def notes(self, number):
        """Lines on what was changed of the `number` images that were read."""
        if self.resized:
            size = "x".join(map(str, self._size))
            yield f"{self.resized} of {number} images resized to {size}, which the model takes"
        if self.recolored:
            change = "made gray" if self._channels == 1 else "in gray, as three equal channels"
            yield f"{self.recolored} of {number} images {change}: the model takes {self._channels}"


def logits(model, images):
    """Logits `[N, C]` of images that may differ in size.

    Args:
        model: `trained.Trained`.
        images: uint8 arrays `[height, width, channels]`.
    """
    by_shape = {}
    for place, image in enumerate(images):
        by_shape.setdefault(image.shape, []).append(place)
    found = [None] * len(images)
    for places in by_shape.values():
        answers, _ = model.predict(np.stack([images[i] for i in places]), BATCH)
        for place, of_image in zip(places, answers, strict=True):
            found[place] = of_image
    return np.stack(found)
