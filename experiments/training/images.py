"""The images of a training: what it learns from, what it is watched on, what it is measured on."""

import numpy as np

from experiments import datasets, methods
from experiments.cli import UserError
from experiments.datasets import image_size
from experiments.runs import data_record, sampling, tails


def load(settings):
    """Reads the data, cuts the long tail and holds out what is for validation.

    Args:
        settings: Checked settings of experiments.train.

    Returns:
        `(Data, Split to train on, Split held out or None, class counts)`, the counts int64 `[C]`
        those of the images to train on.

    Raises:
        UserError: The data are not there, or do not fit the settings.
    """
    choices = {name: settings[name] for name in ("test_fraction", "split_seed")}
    choices["image_size"] = image_size.parsed(settings["image_size"])
    data = datasets.load(settings["dataset"], settings["data_dir"], settings["download"], choices)
    images, class_counts = datasets.cut_long_tail(
        data.train,
        len(data.class_names),
        settings["long_tail"],
        settings["imbalance_factor"],
        tails.seed(settings),
    )
    if not settings["validation_fraction"]:
        return data, images, None, class_counts
    images, held_out = datasets.hold_out(
        images, data.class_names, settings["validation_fraction"], settings["split_seed"]
    )
    class_counts = np.bincount(images.labels, minlength=len(data.class_names))
    return data, images, held_out, class_counts


def held_out_again(config, data_dir=None, download=False):
    """The images that a run held out of its training images, read again.

    Args:
        config: `config.json` of the run.
        data_dir: As of `datasets.load`.
        download: As there.

    Returns:
        `datasets.Split`; None of a run that held none out.

    Raises:
        UserError: The data are not there, or not those that the run was trained on.
    """
    flags = {"image_size": None, "test_fraction": None, "split_seed": 0, **config["flags"]}
    if not flags.get("validation_fraction"):
        return None
    flags["dataset"] = data_record.name(config) or flags["dataset"]
    data, _, held_out, counts = load({**flags, "data_dir": data_dir, "download": download})
    found = {"data": data_record.of(data), "class_names": data.class_names}
    found["class_counts"] = counts.tolist()
    if different := data_record.differences(config, found):
        raise UserError(
            f"the images that the run held out can't be found again ({'; '.join(different)}): "
            "point --data_dir at the data of the training."
        )
    return held_out


def lines(folder, data, images, held_out):
    """What is trained on, and how much of the data set that is, as lines of text."""
    counts = np.bincount(images.labels, minlength=len(data.class_names))
    yield (
        f"{data.name}: {len(images.labels)} training images of {len(counts)} classes "
        f"({counts.max()} to {counts.min()} a class), {len(data.test.labels)} test images "
        f"-> {folder}"
    )
    kept, whole = len(images.labels), len(data.train.labels)
    if held_out:
        kept += len(held_out.labels)
        yield (
            f"--validation_fraction: {len(held_out.labels)} of {kept} training images are held "
            "out and evaluated during the training in place of the test set"
        )
    if kept < whole:
        yield (
            f"--long_tail=exponential: {kept} of {whole} training images kept; "
            "--long_tail=natural keeps all"
        )


def balanced_twice(settings):
    """A warning where both the sampler and the method deal with the class frequencies, or None."""
    sampler, own = sampling.of(settings), methods.of(settings).balanced_by(settings)
    if sampler == sampling.UNIFORM or not own:
        return None
    remedy = " such as with --cb_power=0" if "cb_power" in own else ""
    return (
        f"--sampler={sampler} and {own} both deal with the class frequencies, so that rare "
        f"classes count twice; leave one of them out{',' if remedy else ''}{remedy}."
    )
