"""Reads a prepared data set of tensorflow-datasets, and says what is wrong with its files."""

import numpy as np

from experiments.cli import UserError
from experiments.datasets.class_names import tell_untested
from experiments.datasets.data import Data, Split


def read(folder, name, augmentation):
    """`Data` of a prepared folder.

    Args:
        folder: Path of the version's folder.
        name: The `Data.name`.
        augmentation: The `Data.augmentation`.

    Raises:
        UserError: The files are damaged or incomplete, or not what a classifier needs.
    """
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
    tell_untested(data)
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
            f"{folder} is not an image classification data set: it has the features "
            f"{', '.join(features)}; `image` and `label` are needed."
        )
    _check_features(features, folder)
    return builder


def _check_features(features, folder):
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


def _read_split(builder, split):
    """`Split` of all examples, in the order of the files."""
    number = builder.info.splits[split].num_examples
    if number == 0:
        raise UserError(
            f"{builder.data_dir}: split {split} has no examples; prepare the data set again, with "
            "some."
        )
    images, labels, done = _read_examples(builder, split, number)
    if done != number:
        raise UserError(
            f"{builder.data_dir}: split {split} has {done} examples instead of {number}; the "
            "files are incomplete, prepare them again."
        )
    num_classes = builder.info.features["label"].num_classes
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if wrong.size:
        raise UserError(
            f"{builder.data_dir}: labels must be in [0, {num_classes}), but {wrong.size} of the "
            f"{number} in split {split} are not (example {wrong[0]} has {labels[wrong[0]]}); "
            "prepare the data set again, without them or with all of its classes."
        )
    return Split(images, labels)


def _read_examples(builder, split, number):
    """Images, labels, and how many there are."""
    import tensorflow as tf

    images = np.empty((number, *builder.info.features["image"].shape), "uint8")
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
    return images, labels, done
