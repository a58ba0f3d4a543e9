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
    """A data set in memory.

    Attributes:
        name: What `load` reads these data by and no others, such as `tfds:mnist:3.0.1`.
        augmentation: The kind that suits the images.
    """

    name: str
    train: Split
    test: Split
    class_names: list
    augmentation: str


def check_name(name):
    """Raises ValueError unless `name` is a data set that `load` knows."""
    if name == "digits" or name in _TFDS_NAMES:
        return
    if not re.fullmatch(r"tfds:\w+(/[\w.-]+)*(:\d+\.\d+\.\d+)?", name):
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
    root = _root(data_dir)
    folder = _prepared_folder(tfds_name, root, download)
    known_to_flip = tfds_name.partition(":")[0] in _TFDS_NAMES
    return _read_tfds(folder, _full_name(root, folder), "crop_flip" if known_to_flip else "crop")


def full_name(name, data_dir=None):
    """The `Data.name` of what `load` would read now; None where nothing is prepared."""
    if name == "digits":
        return name
    root = _root(data_dir)
    folder = _find_prepared(root, name.removeprefix("tfds:"))
    return folder and _full_name(root, folder)


def test_split_for(data, class_names):
    """The test split with the class ids of a model, whose classes are found by name.

    Args:
        data: `Data`; it may lack classes of the model, and have them in another order.
        class_names: Names of the model's classes, by class id.

    Returns:
        `Split`.

    Raises:
        UserError: There are test images of a class that the model does not have.
    """
    if data.class_names == class_names:
        return data.test
    for whose, names in ((data.name, data.class_names), ("the model", class_names)):
        if len(set(names)) < len(names):
            raise UserError(
                f"{whose} has two classes of one name ({some(names)}), so that they can't be "
                "found by name; use the data set that the model was trained on."
            )
    ids = {name: c for c, name in enumerate(class_names)}
    present = np.unique(data.test.labels)
    unknown = [data.class_names[c] for c in present if data.class_names[c] not in ids]
    if unknown:
        raise UserError(
            f"{data.name} has test images of classes that the model does not have: "
            f"{some(unknown)}; the model's are {some(class_names)}. Classes are found by name: use "
            "a data set whose names are the model's, such as the one it was trained on."
        )
    print(f"{data.name}: other classes, or in another order, than the model's: found by name")
    new_ids = np.array([ids.get(name, -1) for name in data.class_names], "int32")
    return Split(data.test.images, new_ids[data.test.labels])


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
        raise UserError(
            f"--imbalance_factor: {error} Or keep all images as they are: --long_tail=natural."
        ) from error
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
        name="digits",
        train=Split(images[train], labels[train]),
        test=Split(images[test], labels[test]),
        class_names=[str(c) for c in range(10)],
        augmentation="crop",
    )


def _root(data_dir):
    given = {"--data_dir": data_dir, "TFDS_DATA_DIR": os.environ.get("TFDS_DATA_DIR") or None}
    given["the default of --data_dir"] = "~/tensorflow_datasets"
    return next(local_path(what, path) for what, path in given.items() if path is not None)


def _full_name(root, folder):
    *parts, version = folder.relative_to(root).parts
    return f"tfds:{'/'.join(parts)}:{version}"


def _prepared_folder(name, root, download):
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


def _read_tfds(folder, name, augmentation):
    builder = _opened(folder)
    splits = builder.info.splits
    test = next((s for s in ("test", "validation") if s in splits), None)
    if "train" not in splits or test is None:
        raise UserError(
            f"{folder} has the splits {', '.join(splits)}; `train` and `test` (or `validation`) "
            "are needed."
        )
    data = Data(
        name=name,
        train=_read_split(builder, "train"),
        test=_read_split(builder, test),
        class_names=list(builder.info.features["label"].names),
        augmentation=augmentation,
    )
    if test != "test":
        print(f"{name} has no split `test`: its split `{test}` is the test set")
    _tell_untested(data)
    return data


def _opened(folder):
    """The builder that tfds has of a prepared folder, its features checked."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(folder)
        features = builder.info.features
        _ = builder.info.splits  # read here, where damage is told
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
    return builder


def _tell_untested(data):
    tested = np.unique(data.test.labels)
    untested = [n for c, n in enumerate(data.class_names) if c not in tested]
    if untested:
        print(
            f"{data.name} has no test images of {len(untested)} of its {len(data.class_names)} "
            f"classes, which count in no mean: {some(untested)}"
        )


def some(names):
    """The first few of many names, as text."""
    rest = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(repr, names[:5])) + rest


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
