"""Which images a model was trained on: a digest of each, kept with the run and with its exports."""

import base64
import binascii
import io

import numpy as np

from experiments.cli import UserError
from experiments.datasets.rows import Rows, row_digest

FILE = "training_images.npy"  # in the run directory
KEY = "training_images"  # of what an export says of the run
# Of 16 bytes. By chance one of 10,000 new images agrees with one of a million once in 10^9 times.
_BYTES = 8


def digests(split):
    """A digest of the pixels of each image of a `datasets.Split`, uint64 `[N]`, in their order.

    Of decoded images they are there; no image is read for them.
    """
    images = split.images
    if isinstance(images, Rows):
        whole = images.row_digests()
    else:
        text = b"".join(map(row_digest, images))
        whole = np.frombuffer(text, "uint8").reshape(len(images), -1)
    return np.ascontiguousarray(whole[:, :_BYTES]).view("<u8")[:, 0]


def of_splits(*splits):
    """The digests of all images that a training saw, uint64, ascending, each once.

    Args:
        splits: Each a `datasets.Split`; None for one that the training does not have.
    """
    found = [digests(split) for split in splits if split is not None]
    return np.unique(np.concatenate(found))


def content(found):
    """Content of `FILE`, bytes."""
    file = io.BytesIO()
    np.save(file, found)
    return file.getvalue()


def read(folder):
    """The digests that a run directory holds, as `as_text`; None of a run of an older version.

    Raises:
        UserError: The file is damaged.
    """
    path = folder / FILE
    try:
        found = np.load(path, allow_pickle=False)
        if found.dtype != "<u8" or found.ndim != 1:
            raise ValueError(f"{found.dtype} of shape {found.shape}")
    except FileNotFoundError:
        return None
    except (EOFError, OSError, ValueError) as error:
        raise UserError(
            f"{path} can't be read ({error}), which says what the model was trained on: copy it "
            "again, or delete it, and nothing is known of that."
        ) from error
    return as_text(found)


def as_text(found):
    """The digests as text for JSON."""
    return base64.b64encode(found.astype("<u8").tobytes()).decode()


def of_text(text):
    """The digests of a text of `as_text`; raises ValueError where it is none."""
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<u8")
    except (TypeError, binascii.Error, ValueError) as error:
        raise ValueError(f"its {KEY!r} are not digests") from error


def of(description):
    """The digests that a model's description has; None of a model of an older version."""
    text = description.get(KEY)
    return None if text is None else of_text(text)


def lines(images, held_out, test, trained_on):
    """A warning for each split whose images the training sees too, by their pixels.

    Args:
        images: `datasets.Split` to train on.
        held_out: That held out for validation, or None.
        test: That of the test.
        trained_on: `of_splits` of the first two.
    """
    pairs = [("test", test, trained_on)]
    if held_out is not None:
        pairs.append(("held-out", held_out, digests(images)))
    for what, split, others in pairs:
        number = int(np.isin(digests(split), others).sum())
        if number:
            yield (
                f"{number} of {len(split.labels)} {what} images have the pixels of training "
                "images, so that the figures are not of new images alone: remove one of each pair "
                "from the data set"
            )
