"""Images of one's own in class folders, decoded once into a file that is mapped into memory."""

import pathlib

import numpy as np

from experiments.cli import UserError, local_path
from experiments.datasets.class_names import tell_untested
from experiments.datasets.data import Data, Split
from experiments.datasets.image_size import in_words
from experiments.datasets.source import Source
from experiments.datasets.split import apart
from experiments.runs import tails
from experiments.runs.figures import counted

PREFIX = "folder:"
_MOST_BAD = 0.05  # of all files; a single one is never too many


def load(name, data_dir=None, download=False, **choices):
    """Reads a folder of class folders, or of `train` and `test` with those.

    Args:
        name: `folder:PATH`.
        data_dir: Folder for the decoded images; None for the user's cache.
        download: Not used.
        choices: Of `SOURCE.choices`. `image_size`: `(height, width)`, None for the images' own
            where all have one. `channels`: 1 or 3, None for 1 where no image has a
            colour.
            `test_fraction` and `split_seed`: what is split off for the test where there is no
            folder for it.

    Returns:
        `Data`, its images `Rows` of the decoded file.

    Raises:
        UserError: It is not such a folder, a class is empty, or too many files can't be read.
    """
    del download
    from experiments.datasets.folder import decode, listing
    from experiments.datasets.folder.cache import Cache

    name = canonical(name)
    found = listing.find(_path(name), decode.SUFFIXES)
    if not found.files:
        raise UserError(f"--dataset={name} holds no file that can be read: {_why(found.bad)}")
    cache = Cache(found, name, data_dir)
    size, channels = choices.get("image_size"), choices.get("channels")
    if size is None or channels is None:
        headers = cache.headers()
        _check_bad(name, found, {**found.bad, **headers.bad})
        size = _size(name, headers) if size is None else size
        channels = channels or (1 if headers.gray else 3)
    size = tuple(size)
    cached = cache.images(size, channels)
    bad = {**found.bad, **cached.bad}
    _check_bad(name, found, bad)
    if bad:
        print(f"{name}: {counted(len(bad), 'file')} that can't be read left out: {_why(bad)}")
    found.tell_left_out(name)
    train, test, split = _splits(found, cached, choices)
    data = Data(
        name=name,
        train=train,
        test=test,
        class_names=found.class_names,
        augmentation="crop",  # as any images of which nobody said that they may be flipped
        choices={"image_size": list(size), "channels": channels, **split},
        resized=True,
    )
    tell_untested(data)
    return data


def canonical(name):
    """The name with the absolute path."""
    path = local_path("--dataset", name.removeprefix(PREFIX))
    return f"{PREFIX}{path.absolute().as_posix()}"


def full_name(name, data_dir=None):
    """The `Data.name` of what `load` would read now; None where there is no such folder."""
    del data_dir
    return canonical(name) if _path(name).is_dir() else None


def check(name):
    """Raises ValueError unless there is such a folder."""
    path = _path(name)
    if not path.is_dir():
        wrong = "is a file" if path.exists() else "does not exist"
        raise ValueError(
            f"{path} {wrong}; name a folder that holds a folder of images for each class, or "
            "train/ and test/ with such folders."
        )


def _path(name):
    return local_path("--dataset", pathlib.Path(name.removeprefix(PREFIX)).expanduser())


SOURCE = Source(
    names=f"{PREFIX}PATH",
    title="for images in class folders",
    accepts=lambda name: name.startswith(PREFIX) and name != PREFIX,
    load=load,
    full_name=full_name,
    canonical=canonical,
    check=check,
    choices=("image_size", "channels", "test_fraction", "split_seed"),
    long_tail=tails.NATURAL,
)


def _size(name, headers):
    """The one size that all images have."""
    if not headers.one_size:
        sizes = f"{in_words(headers.smallest)} to {in_words(headers.largest)}"
        side = max(8, min(224, *headers.smallest))
        raise UserError(
            f"--image_size is missing: the images of {name} have sizes from {sizes} (height x "
            f"width); give the one to resize them to, such as --image_size={side}."
        )
    return headers.smallest


def _check_bad(name, found, bad):
    """Raises UserError where too many files can't be read, or all of a class."""
    number = len(found.files) + len(found.bad)
    if len(bad) > max(1, _MOST_BAD * number):
        raise UserError(
            f"--dataset={name}: {len(bad)} of {number} files can't be read, more than "
            f"{_MOST_BAD:.0%}: {_why(bad)}"
        )
    classes = {}
    for i, file in enumerate(found.files):
        part = "test" if found.for_training is not None and i >= found.for_training else "training"
        key = part, file.class_id
        classes[key] = classes.get(key, False) or file.path not in bad
    for (part, class_id), has_some in classes.items():
        if not has_some:
            raise UserError(
                f"--dataset={name}: no {part} image of the class "
                f"{found.class_names[class_id]!r} can be read: {_why(bad)}"
            )


def _why(bad):
    """The first few files that can't be read, each with the reason."""
    rest = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
    return "; ".join(f"{path!a}: {why}" for path, why in list(bad.items())[:5]) + rest


def _splits(found, cached, choices):
    """`(training Split, test Split, what was chosen for it)`."""
    from experiments.datasets.rows import Rows

    good = np.array([i for i, file in enumerate(found.files) if file.path not in cached.bad])
    labels = np.array([file.class_id for file in found.files], "int32")[good]
    whole = Split(Rows(cached.images, cached.digests, good), labels)
    if found.for_training is not None:
        of_training = good < found.for_training
        train, test = np.flatnonzero(of_training), np.flatnonzero(~of_training)
        return whole.take(train), whole.take(test), {}
    fraction = choices.get("test_fraction", 0.2)
    seed = choices.get("split_seed", 0)
    train, test = apart(labels, len(found.class_names), fraction, seed)
    print(
        f"no train/ and test/: {len(test)} of {len(labels)} images are the test set, "
        f"{fraction:g} of every class (--test_fraction, --split_seed={seed})"
    )
    return whole.take(train), whole.take(test), {"test_fraction": fraction, "split_seed": seed}
