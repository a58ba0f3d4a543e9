"""What data a run was trained on, so that only runs on the same data are continued or averaged."""

import hashlib
import json

import numpy as np

from experiments.cli import UserError
from experiments.runs import naming, tails

TO_BE_TRAINED = "a cell to be trained now"  # in place of the directory of a run


def of(data):
    """What is kept about a data set: all of it, before a long tail is cut from it.

    Args:
        data: `datasets.Data`.

    Returns:
        JSON-able dict of `name`, with the version, and of `train` and `test`: how many `images`,
        and digests of their `labels` and `pixels`, in their order, which the seed goes by; and
        the `choices` with which the same are read again, where the source has some.
    """
    record = {"name": data.name, "train": of_split(data.train), "test": of_split(data.test)}
    return {**record, "choices": data.choices} if data.choices else record


def of_split(split):
    """What is kept about the images of one split: how many, digests of their labels and pixels."""
    images = split.images
    return {
        "images": len(split.labels),
        "labels": _digest(split.labels),
        "pixels": images.digest() if hasattr(images, "digest") else _digest(images),
    }


def name(about):
    """The name under which a run or a SavedModel recorded its data; None where it did not."""
    recorded = _at(about, ("data", "name"))
    return recorded if isinstance(recorded, str) else None


def choices(about):
    """How a run or a SavedModel recorded that its data were read, a dict."""
    recorded = _at(about, ("data", "choices"))
    return recorded if isinstance(recorded, dict) else {}


def label(record):
    """A data set's name and a digest of all that is known about it, short enough for a table."""
    called = str(record.get("name"))
    if naming.is_path(called):
        called = naming.without_folders(called)
        record = {**record, "name": None}
    text = json.dumps(record, sort_keys=True).encode()
    return f"{called} ({hashlib.blake2b(text, digest_size=4).hexdigest()})"


def differences(there, here):
    """Words for every item in which the data of two runs differ.

    Args:
        there: Dict with any of `data`, `class_names` and `class_counts`, as `config.json` has them.
            What an older run did not record is not compared.
        here: The same of the run asked for.

    Returns:
        List of strings.
    """
    words = []

    def compare(what, *keys):
        old, new = _at(there, keys), _at(here, keys)
        if None not in (old, new) and old != new:
            words.append(what.format(old, new))

    # Where the files of a user are does not matter, what is in them does.
    if not (naming.is_path(name(there)) and naming.is_path(name(here))):
        compare("the data set is {} there, {} here", "data", "name")
    words += _of_classes(there, here, "class_names", "class {} is {!r} there, {!r} here")
    for split in ("train", "test"):
        compare(f"{{}} {split} images there, {{}} here", "data", split, "images")
        if _at(there, ("data", split, "images")) == _at(here, ("data", split, "images")):
            compare(f"other labels of the {split} images", "data", split, "labels")
            compare(f"other pixels in the {split} images", "data", split, "pixels")
    counts = "class {} has {} training images there, {} here"
    return words + list(_of_classes(there, here, "class_counts", counts))


def check(there, here, folder):
    """Refuses to continue a run on other data than it began with.

    Args:
        there: What the run has recorded, as for `differences`; None where there is no run.
        here: What was read now.
        folder: The run directory.

    Raises:
        UserError: They differ; says in what.
    """
    different = differences(there or {}, here)
    if not different:
        return
    began, now = name(there), name(here)
    fix = "point --data_dir at those data"
    if None not in (began, now) and began != now and not naming.is_path(began):
        tail = _at(there, ("flags", "long_tail"))
        given = f"--output_dir={folder} --dataset={began}{f' --long_tail={tail}' if tail else ''}"
        fix = f"continue it with {given}, point --data_dir at a folder with that version alone"
    raise UserError(
        f"--resume: the run in {folder} began with other data than are here now "
        f"({'; '.join(different)}); {fix}, or choose another --output_dir."
    )


def check_same(there, here, folder):
    """Refuses to train on other data than another run was trained on, whatever its long tail.

    Args:
        there: `config.json` of that run.
        here: What was read now, as for `differences`.
        folder: Directory of that run.

    Raises:
        UserError: They differ; says in what.
    """
    of_data = [{key: about.get(key) for key in ("data", "class_names")} for about in (there, here)]
    if different := differences(*of_data):
        raise UserError(
            f"--same_data_as: the run in {folder} began with other data than are here now "
            f"({'; '.join(different)}); give those back, or train all runs again elsewhere."
        )


def check_alike(configs):
    """Refuses to put runs on different data into one table.

    Args:
        configs: Dict of run directory, or `TO_BE_TRAINED`, to its `config.json`.

    Raises:
        UserError: Two of them differ; says which, and in what.
    """
    runs = list(configs.items())
    # An older run did not record its data: it is compared by the names of its classes and, with
    # the first run that was cut as it was, by their training images.
    references = [*runs[:1], *[run for run in runs if name(run[1])][:1]]
    cuts = {}
    for folder, config in runs:
        cut = _cut(config)
        pairs = [(reference, ("data", "class_names")) for reference in references]
        if cut:
            pairs.append((cuts.setdefault(cut, (folder, config)), ("class_counts",)))
        for (first, of_first), keys in pairs:
            both = [{key: c.get(key) for key in keys} for c in (of_first, config)]
            if different := differences(*both):
                raise UserError(_not_alike(first, folder, different))


def _cut(config):
    """What the class counts follow from but the data, as text; None where it is not recorded."""
    if not isinstance(config.get("class_counts"), list):
        return None
    flags = config.get("flags")
    if not (isinstance(flags, dict) and flags.get("long_tail")):
        return None
    return json.dumps([flags.get("dataset"), flags["long_tail"], tails.factor(flags)])


def _not_alike(first, folder, different):
    """The message on a run, or a cell to be trained, that is not on the data of another."""
    fix = "delete the runs of one kind, or choose another --output_dir."
    if folder == TO_BE_TRAINED:
        fix = f"point --data_dir at the data of the runs that are there, {fix}"
    return (
        f"{first} (there) and {folder} (here) are on different data ({'; '.join(different)}), "
        f"which no table may mix: {fix}"
    )


def _digest(array):
    digest = hashlib.blake2b(f"{array.dtype.name} {array.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def _at(record, keys):
    """The value at the end of the keys; None where it is not recorded."""
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    return record


def _of_classes(there, here, key, words):
    """Words for the first class in which two lists, one entry a class, differ."""
    old, new = there.get(key), here.get(key)
    if not (isinstance(old, list) and isinstance(new, list)) or old == new:
        return
    if len(old) != len(new):
        if key == "class_names":
            yield f"{len(old)} classes there, {len(new)} here"
        return
    first = next(c for c in range(len(old)) if old[c] != new[c])
    yield words.format(first, old[first], new[first])
