"""SavedModel: raw uint8 images in; logits, probabilities and classes out."""

import json
import math
import pathlib
import shutil

import keras
import numpy as np
import tensorflow as tf

from experiments import methods
from experiments.cli import UserError, check_loadable
from experiments.exports import training_images
from experiments.exports.resizing import resized
from experiments.runs import atomic

_DESCRIPTION = pathlib.PurePath("assets.extra", "cb_keras.json")
_DESCRIBED = {
    "settings": dict,
    "dataset": str,
    "class_counts": list,
    "class_names": list,
    "epochs": int,
    "train_seconds": (int, float),
    "images_per_second": (int, float, type(None)),
}


def export(model, folder, description):
    """Writes the inference part of `model` as a SavedModel that TensorFlow alone can load.

    Args:
        model: The network, raw pixels `[N, H, W, channels]` to logits.
        folder: SavedModel folder; appears when it is whole, and replaces an older one.
        description: JSON-able dict, kept in `assets.extra`: `settings` (of `methods.settings_of`),
            `sampler`, `dataset`, `data` (of `data_record.of`), `resizes` (whether it takes images
            of any size), `class_counts`, `class_weights`, `class_names`, `epochs`,
            `train_seconds`, `images_per_second`; `training_images` (of `training_images.as_text`);
            `posthoc`, what was done after the training.
    """
    folder = pathlib.Path(folder)
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        _archive(model, description).write_out(str(temporary), verbose=False)
        (temporary / _DESCRIPTION).parent.mkdir()
        text = json.dumps(description, indent=2) + "\n"
        atomic.write_atomically(temporary / _DESCRIPTION, text.encode())
        atomic.sync_tree(temporary)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    atomic.sync_folder(folder.parent)


def _archive(model, description):
    """The `keras.export.ExportArchive` of the network, its outputs as the method gives them."""
    settings = description["settings"]
    method = methods.of(settings)
    resizes = description.get("resizes", False)
    size, channels = model.input_shape[1:3], model.input_shape[3]

    def predict(images):
        if resizes:  # whatever their size: what is wrong then is told by what the model takes
            images = tf.ensure_shape(images, [None, None, None, channels])
            images = resized(images, size)
        # A loaded signature checks the type of what it is given and not the shape: the network
        # would answer images of other sizes, and a missing dimension aborts in its kernels.
        images = tf.ensure_shape(images, [None, *model.input_shape[1:]])
        # Nor do those kernels take a batch of 0, which becomes one image that is left out again.
        number = tf.shape(images)[0]
        one_if_none = tf.zeros([1, *model.input_shape[1:]], images.dtype)[number:]
        images = tf.concat([images, one_if_none], axis=0)
        logits = model(tf.cast(images, tf.float32), training=False)[:number]
        return {
            "logits": logits,
            "probabilities": method.probabilities(settings, logits),
            "classes": tf.argmax(logits, axis=-1),
        }

    archive = keras.export.ExportArchive()
    archive.track(model)
    sides = [None, None] if resizes else size
    signature = tf.TensorSpec([None, *sides, channels], tf.uint8, name="images")
    archive.add_endpoint("serve", predict, [signature])
    return archive


def description(folder):
    """The dict that `export` kept next to the model.

    One that an older version exported has no `class_weights`.

    Raises:
        UserError: The folder holds no SavedModel, or one that `export` did not write.
    """
    folder = pathlib.Path(folder)
    if not (folder / "saved_model.pb").is_file():
        raise UserError(
            f"--saved_model={folder} holds no SavedModel; give the saved_model/ folder inside a "
            "run directory."
        )
    foreign = (
        f"--saved_model={folder} was not exported by experiments.train, whose models this program "
        f"evaluates: it has no readable {_DESCRIPTION}"
    )
    try:
        description = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{foreign} ({error}).") from error
    if problem := _problem(description):
        raise UserError(f"{foreign} ({problem}).")
    return description


def _problem(description):
    """Why a dict is not a description, in words; None where it is one."""
    for name, kind in _DESCRIBED.items():
        if not isinstance(description, dict) or not isinstance(
            description.get(name, NotImplemented), kind
        ):
            return f"no {name!r} in it"
    classes = len(description["class_counts"])
    if len(description["class_names"]) != classes:
        return "its 'class_names' are not one for each of 'class_counts'"
    weights = description.get("class_weights")
    if "class_weights" in description and not _are_weights(weights, classes):
        return "its 'class_weights' are not a number >= 0 for each of 'class_counts'"
    try:
        training_images.of(description)
    except ValueError as error:
        return str(error)
    settings = description["settings"]
    if not isinstance(settings.get("loss"), str):
        return "no 'loss' in its 'settings'"
    try:
        methods.of(settings).loss(settings["loss"])
    except (TypeError, ValueError) as error:
        return f"its 'settings': {error}"
    return None


def _are_weights(weights, classes):
    return (
        isinstance(weights, list)
        and len(weights) == classes
        and all(type(w) in (int, float) and 0 <= w < math.inf for w in weights)
    )


def load(folder):
    """The SavedModel; its signature lives for as long as it does.

    Raises:
        UserError: It is damaged, or has another signature than ours.
    """
    check_loadable("--saved_model", folder)
    try:
        loaded = tf.saved_model.load(str(folder))
        serve = loaded.signatures["serving_default"]
        known = {"images"} <= set(serve.structured_input_signature[1])
        known = known and {"logits", "classes"} <= set(serve.structured_outputs)
    # TensorFlow has errors of many kinds for a damaged file.
    except Exception as error:
        raise UserError(
            f"--saved_model={folder} can't be loaded ({type(error).__name__}): it is damaged or "
            "incomplete. Copy it again, or delete metrics.json of its run and continue that with "
            "--resume, which exports it again."
        ) from error
    if not known:
        raise UserError(
            f"--saved_model={folder} has another signature than the models of experiments.train, "
            "`images` to `logits` and `classes`; give one of those."
        )
    return loaded


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
