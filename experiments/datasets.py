"""Data sets by name: images and labels in memory, and the long tail cut from them."""

import dataclasses
import os
import re

import numpy as np
import tensorflow as tf

import cb_keras
from experiments.cli import UserError, local_path

_TFDS_NAMES = ("cifar10", "cifar100")  # the only ones to be flipped: a flipped digit is no digit
_DIGITS_TEST_PER_CLASS = 50


@dataclasses.dataclass(frozen=True)
class Split:
    """Images uint8 `[N, H, W, channels]` and class ids int32 `[N]`."""

    images: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set in memory; `augmentation` is the kind that suits its images."""

    train: Split
    test: Split
    class_names: list
    augmentation: str


def check_name(name):
    """Raises ValueError unless `name` is a data set that `load` knows."""
    if name == "digits" or name in _TFDS_NAMES:
        return
    if not re.fullmatch(r"tfds:\w+(/[\w.-]+)?(:\d+\.\d+\.\d+)?", name):
        raise ValueError(
            f"unknown data set {name!r}; use cifar10, cifar100, digits, or tfds:NAME with NAME of "
            "the form name[/config][:1.0.0]."
        )


def load(name, data_dir=None, download=False):
    """Reads a data set into memory.

    Args:
        name: `cifar10`, `cifar100`, `digits` (scikit-learn's, inside the package), or `tfds:NAME`.
        data_dir: Folder of prepared tfds data; None for `$TFDS_DATA_DIR`, then tfds's own.
        download: Whether tfds may download and prepare what is absent.

    Returns:
        `Data`.

    Raises:
        UserError: The data is absent, or not what this program can train on.
    """
    if name == "digits":
        return _digits()
    tfds_name = name.removeprefix("tfds:")
    folder = _prepared_folder(tfds_name, data_dir, download)
    known_to_flip = tfds_name.partition(":")[0] in _TFDS_NAMES
    return _read_tfds(folder, "crop_flip" if known_to_flip else "crop")


def cut_long_tail(split, num_classes, long_tail, imbalance_factor, seed):
    """The training set to use, and its class counts.

    `exponential` keeps Cui's profile with the size of the smallest class as its largest count;
    `natural` keeps everything.

    Returns:
        `(Split, class_counts)`, the counts taken from the labels that are kept.

    Raises:
        UserError: A class has no examples, or would have none.
    """
    available = np.bincount(split.labels, minlength=num_classes)
    if available.min() < 1:
        raise UserError(
            f"class {int(available.argmin())} has no training examples; a class-balanced loss "
            "needs one at least of every class: prepare the data set with some, or without the "
            "class."
        )
    if long_tail == "natural":
        return split, available
    try:
        counts = cb_keras.long_tailed_counts(num_classes, int(available.min()), imbalance_factor)
    except ValueError as error:
        raise UserError(f"--imbalance_factor: {error}") from error
    chosen = cb_keras.choose_long_tail(split.labels, counts, seed)
    kept = Split(split.images[chosen], split.labels[chosen])
    return kept, np.bincount(kept.labels, minlength=num_classes)


def _digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype("uint8")[..., None]
    labels = data.target.astype("int32")
    # The last images of each class: the file is ordered by writer, so these are other hands.
    test = np.sort(
        np.concatenate([np.flatnonzero(labels == c)[-_DIGITS_TEST_PER_CLASS:] for c in range(10)])
    )
    train = np.setdiff1d(np.arange(labels.size), test)
    return Data(
        train=Split(images[train], labels[train]),
        test=Split(images[test], labels[test]),
        class_names=[str(c) for c in range(10)],
        augmentation="crop",
    )


def _prepared_folder(name, data_dir, download):
    given = {"--data_dir": data_dir, "TFDS_DATA_DIR": os.environ.get("TFDS_DATA_DIR") or None}
    given["the default of --data_dir"] = "~/tensorflow_datasets"
    root = next(local_path(what, path) for what, path in given.items() if path is not None)
    folder = _find_prepared(root, name)
    if folder is None and download:
        _download(name, root)
        folder = _find_prepared(root, name)
    if folder is None:
        raise UserError(
            f"no prepared {name} in {root.absolute()}. Either point --data_dir (or TFDS_DATA_DIR) "
            "at a folder that holds it, or add --download to fetch it there with "
            "tensorflow-datasets."
        )
    return folder


def _download(name, root):
    import tensorflow_datasets as tfds

    try:
        tfds.builder(name, data_dir=root).download_and_prepare()
    except tfds.core.registered.DatasetNotFoundError as error:
        raise UserError(
            f"tensorflow-datasets knows no data set {name!r}; its catalogue is at "
            "https://www.tensorflow.org/datasets."
        ) from error
    # tfds wraps what goes wrong in errors of many kinds; none of them is ours.
    except Exception as error:
        words = " ".join(str(error).split())
        raise UserError(
            f"tensorflow-datasets could not prepare {name} in {root.absolute()}: "
            f"{type(error).__name__}: {words}"
        ) from error


def _find_prepared(root, name):
    """Newest prepared version of a tfds data set below `root`, or None; reads no network."""
    name, _, version = name.partition(":")
    name, _, config = name.partition("/")
    found = {}
    for info in (root / name).glob("**/dataset_info.json"):
        *configs, found_version = info.parent.relative_to(root).parts[1:] or ("",)
        if re.fullmatch(r"\d+\.\d+\.\d+", found_version) and version in ("", found_version):
            found.setdefault("/".join(configs), []).append(info.parent)
    if config:
        found = {key: value for key, value in found.items() if key == config}
    if len(found) > 1:
        raise UserError(
            f"{root / name} holds several configurations; name one of them: "
            + ", ".join(f"tfds:{name}/{key}" for key in sorted(found))
        )
    folders = next(iter(found.values()), [])
    return max(folders, key=lambda f: [int(n) for n in f.name.split(".")], default=None)


def _read_tfds(folder, augmentation):
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(folder)
        features, splits = builder.info.features, builder.info.splits
    # JSON, protobuf and tfds each have errors of their own for a damaged file.
    except Exception as error:
        raise UserError(
            f"{folder}: dataset_info.json or features.json can't be read; the files are damaged or "
            f"incomplete, prepare them again ({type(error).__name__})."
        ) from error
    if not {"image", "label"} <= set(features) or not isinstance(
        features["label"], tfds.features.ClassLabel
    ):
        raise UserError(
            f"{folder} is no image classification data set: it has the features "
            f"{', '.join(features)}; `image` and `label` are needed."
        )
    shape, dtype = features["image"].shape, np.dtype(features["image"].np_dtype)
    if len(shape) != 3 or None in shape or dtype != np.uint8:
        raise UserError(
            f"the images in {folder} have the shape {shape} and dtype {dtype}; images of one "
            "size, uint8, are needed. Prepare a resized copy of values from 0 to 255 as a tfds "
            "data set of its own."
        )
    class_names = features["label"].names or []
    if len(class_names) < 2:
        raise UserError(
            f"{folder} has {len(class_names)} class ({', '.join(class_names)}), a classifier needs "
            "two at least; use another --dataset."
        )
    test = next((s for s in ("test", "validation") if s in splits), None)
    if "train" not in splits or test is None:
        raise UserError(
            f"{folder} has the splits {', '.join(splits)}; `train` and `test` (or `validation`) "
            "are needed."
        )
    return Data(
        train=_read_split(builder, "train"),
        test=_read_split(builder, test),
        class_names=class_names,
        augmentation=augmentation,
    )


def _read_split(builder, split):
    number = builder.info.splits[split].num_examples
    features = builder.info.features
    if number == 0:
        raise UserError(
            f"{builder.data_dir}: split {split} has no examples; prepare the data set again, with "
            "some."
        )
    images = np.empty((number, *features["image"].shape), "uint8")
    labels = np.empty(number, "int32")
    done = 0
    batches = builder.as_dataset(split, shuffle_files=False)
    batches = batches.map(lambda example: (example["image"], example["label"])).batch(512)
    try:
        for image, label in batches.as_numpy_iterator():
            images[done : done + len(label)], labels[done : done + len(label)] = image, label
            done += len(label)
    except (tf.errors.OpError, ValueError) as error:
        raise UserError(
            f"{builder.data_dir}: split {split} can't be read after {done} of {number} examples; "
            f"the files are damaged or incomplete, prepare them again ({type(error).__name__})."
        ) from error
    if done != number:
        raise UserError(
            f"{builder.data_dir}: split {split} has {done} examples instead of {number}; the "
            "files are incomplete, prepare them again."
        )
    num_classes = features["label"].num_classes
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if wrong.size:
        raise UserError(
            f"{builder.data_dir}: labels must be in [0, {num_classes}), but {wrong.size} of the "
            f"{number} in split {split} are not (example {wrong[0]} has {labels[wrong[0]]}); "
            "prepare the data set again, without them or with all of its classes."
        )
    return Split(images, labels)
