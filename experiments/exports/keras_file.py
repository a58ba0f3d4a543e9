"""`model.keras` of a run: the network itself, which every backend of Keras loads."""

import pathlib

import keras
import numpy as np

import cb_keras  # noqa: F401, whose layers are in it
from experiments import methods
from experiments.cli import UserError, in_a_line
from experiments.exports import training_images
from experiments.runs import data_record, directory, sampling

SUFFIX = ".keras"


def is_one(path):
    """Whether a path is named as such a file, not as a SavedModel."""
    return pathlib.Path(path).suffix == SUFFIX


def description(path):
    """What a run says of its model, as `saved_model.description`.

    Args:
        path: `model.keras` in the directory of a finished run.

    Raises:
        UserError: There is no such file, or the folder that it is in holds no finished run.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"--saved_model={path} is not there; give model.keras of a run directory.")
    folder = path.absolute().parent
    try:
        config, metrics = directory.read_finished(folder)
    except UserError as error:
        raise UserError(
            f"--saved_model={path} is read together with the files of its run: {error} Give it in "
            "its run directory, or the SavedModel next to it, which has all inside."
        ) from error
    trained_on = training_images.read(folder)
    kept = ("data", "class_counts", "class_weights", "class_names")
    return {
        "settings": methods.settings_of(config["flags"]),
        "sampler": sampling.of(config["flags"]),
        "dataset": config["flags"]["dataset"],
        "resizes": "image_size" in data_record.choices(config),
        **{name: config[name] for name in kept},
        **{name: metrics[name] for name in ("epochs", "train_seconds", "images_per_second")},
        **({} if trained_on is None else {training_images.KEY: trained_on}),
    }


def load(path):
    """The network; raises UserError where it can't be loaded."""
    try:
        return keras.models.load_model(path, compile=False)
    # Keras, h5py and zipfile have errors of many kinds for a damaged file.
    except Exception as error:
        raise UserError(
            f"--saved_model={path} can't be loaded ({in_a_line(error)[:300]}): it is damaged, or "
            "of another version of Keras or cb_keras; copy it again."
        ) from error


def predict(model, images, batch_size):
    """Outputs for all of `images`, in batches: `(logits [N, C], classes [N])` as numpy arrays.

    Raises:
        UserError: The images are not of the size that the model was trained on.
    """
    expected = model.input_shape[1:]
    sides = zip(expected, images.shape[1:], strict=True)
    if any(side not in (None, given) for side, given in sides):
        raise UserError(
            f"the data set's images are {images.shape[1:]}, the model takes {expected}: use the "
            "data set it was trained on."
        )
    logits = np.concatenate(
        [
            model.predict_on_batch(images[start : start + batch_size])
            for start in range(0, len(images), batch_size)
        ]
    )
    return logits, logits.argmax(axis=-1)
