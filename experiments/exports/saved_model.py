"""SavedModel for evaluation: raw uint8 images in; logits, probabilities and classes out."""

import json
import pathlib
import shutil

import keras
import numpy as np
import tensorflow as tf

from experiments.cli import UserError, check_loadable
from experiments.exports import scoring
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


def export(model, folder, about):
    """Writes the inference part of `model` as a SavedModel that TensorFlow alone can load.

    Args:
        model: The network, raw pixels `[N, H, W, channels]` to logits.
        folder: SavedModel folder; appears when it is whole, and replaces an older one.
        about: JSON-able dict, kept in `assets.extra`: `settings` (`loss`, `cb_beta`,
            `cb_power`, `gamma`), `dataset`, `data` (of `data_record.of`), `class_counts`,
            `class_names`, `epochs`, `train_seconds`, `images_per_second`.
    """
    folder = pathlib.Path(folder)
    probabilities = tf.nn.softmax if about["settings"]["loss"] == "softmax" else tf.math.sigmoid

    def predict(images):
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
            "probabilities": probabilities(logits),
            "classes": tf.argmax(logits, axis=-1),
        }

    archive = keras.export.ExportArchive()
    archive.track(model)
    signature = tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8, name="images")
    archive.add_endpoint("serve", predict, [signature])
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        archive.write_out(str(temporary), verbose=False)
        (temporary / _DESCRIPTION).parent.mkdir()
        text = json.dumps(about, indent=2) + "\n"
        atomic.write_atomically(temporary / _DESCRIPTION, text.encode())
        atomic.sync_tree(temporary)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    atomic.sync_folder(folder.parent)


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
    foreign = (
        f"--saved_model={folder} was not exported by experiments.train, whose models this program "
        f"evaluates: it has no readable {_DESCRIPTION}"
    )
    try:
        about = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{foreign} ({error}).") from error
    for name, kind in _DESCRIBED.items():
        if not isinstance(about, dict) or not isinstance(about.get(name, NotImplemented), kind):
            raise UserError(f"{foreign} (no {name!r} in it).")
    if len(about["class_names"]) != len(about["class_counts"]):
        raise UserError(f"{foreign} (its 'class_names' are not one for each of 'class_counts').")
    return about


def evaluate(folder, split, batch_size):
    """Loads the SavedModel in `folder` and scores it on `split`.

    Returns:
        The figures of `metrics.json`.

    Raises:
        UserError: The SavedModel is not ours, is damaged, does not fit the data, or gives NaN.
    """
    about = description(folder)
    num_classes = len(about["class_counts"])
    if split.labels.max() >= num_classes:
        raise UserError(
            f"the data set has a class {split.labels.max()}, the model in {folder} has "
            f"{num_classes} classes: use the data set it was trained on, {about['dataset']}."
        )
    loaded = _load(folder)  # for as long as its signature is used
    logits, classes = predict(loaded.signatures["serving_default"], split.images, batch_size)
    wrong = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if wrong.size:
        raise UserError(
            f"the model in {folder} gives logits that are not finite for {wrong.size} of "
            f"{len(logits)} images, image {wrong[0]} the first: its training diverged; train again "
            "in another --output_dir with a lower --learning_rate."
        )
    return scoring.score(split.labels, classes, logits, about)


def _load(folder):
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
