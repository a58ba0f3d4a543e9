"""SavedModel for evaluation: raw uint8 images in; logits, probabilities and classes out."""

import json
import pathlib
import shutil

import keras
import numpy as np
import tensorflow as tf

from experiments import scoring
from experiments.cli import UserError

_DESCRIPTION = pathlib.PurePath("assets.extra", "cb_keras.json")


def export(model, folder, about):
    """Writes the inference part of `model` as a SavedModel that TensorFlow alone can load.

    Args:
        model: The network, raw pixels `[N, H, W, channels]` to logits.
        folder: SavedModel folder; appears when it is whole, and replaces an older one.
        about: JSON-able dict, kept in `assets.extra`: `settings` (`loss`, `cb_beta`,
            `cb_power`, `gamma`), `dataset`, `class_counts`, `class_names`, `epochs`,
            `train_seconds`, `images_per_second`.
    """
    folder = pathlib.Path(folder)
    probabilities = tf.nn.softmax if about["settings"]["loss"] == "softmax" else tf.math.sigmoid

    def predict(images):
        logits = model(tf.cast(images, tf.float32), training=False)
        return {
            "logits": logits,
            "probabilities": probabilities(logits),
            "classes": tf.argmax(logits, axis=-1),
        }

    archive = keras.export.ExportArchive()
    archive.track(model)
    signature = tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8, name="images")
    archive.add_endpoint("serve", predict, [signature])
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    archive.write_out(str(temporary), verbose=False)
    (temporary / _DESCRIPTION).parent.mkdir()
    (temporary / _DESCRIPTION).write_text(json.dumps(about, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def description(folder):
    """The dict that `export` kept beside the model.

    Raises:
        UserError: The folder holds no SavedModel, or one that `export` did not write.
    """
    folder = pathlib.Path(folder)
    if not (folder / "saved_model.pb").is_file():
        raise UserError(
            f"--saved_model={folder} holds no SavedModel; give the saved_model/ folder inside a "
            "run directory."
        )
    try:
        return json.loads((folder / _DESCRIPTION).read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"--saved_model={folder} was not exported by experiments.train: it has no readable "
            f"{_DESCRIPTION} ({error})."
        ) from error


def evaluate(folder, split, batch_size):
    """Loads the SavedModel in `folder` and scores it on `split`.

    Returns:
        The figures of `metrics.json`.

    Raises:
        UserError: The SavedModel is not ours, or does not fit the data.
    """
    about = description(folder)
    num_classes = len(about["class_counts"])
    if split.labels.max() >= num_classes:
        raise UserError(
            f"the data set has a class {split.labels.max()}, the model in {folder} has "
            f"{num_classes} classes: use the data set it was trained on, {about['dataset']}."
        )
    loaded = tf.saved_model.load(str(folder))
    logits, classes = predict(loaded.signatures["serving_default"], split.images, batch_size)
    return scoring.score(split.labels, classes, logits, about)


def predict(serve, images, batch_size):
    """Outputs for all of `images`, in batches: `(logits [N, C], classes [N])` as numpy arrays.

    Raises:
        UserError: The images are not of the size that the model was trained on.
    """
    expected = serve.structured_input_signature[1]["images"].shape
    if not expected[1:].is_compatible_with(images.shape[1:]):
        raise UserError(
            f"the data set's images are {images.shape[1:]}, the model takes {tuple(expected[1:])}: "
            "use the data set it was trained on."
        )
    logits, classes = [], []
    for start in range(0, len(images), batch_size):
        outputs = serve(images=tf.constant(images[start : start + batch_size]))
        logits.append(outputs["logits"].numpy())
        classes.append(outputs["classes"].numpy())
    return np.concatenate(logits), np.concatenate(classes)
