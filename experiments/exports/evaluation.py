"""The figures of `metrics.json`, measured on a SavedModel."""

import keras
import numpy as np

from cb_keras.metrics import classification_report, confusion_matrix
from experiments import methods
from experiments.cli import UserError
from experiments.exports import saved_model
from experiments.runs import files


def evaluate(folder, description, split, batch_size):
    """Loads the SavedModel in `folder` and scores it on `split`.

    Args:
        folder: SavedModel folder.
        description: What `saved_model.export` kept next to it, with `class_weights`.
        split: `datasets.Split`, its class ids those of the model.
        batch_size: Images per call of the model.

    Returns:
        The content of `metrics.json`.

    Raises:
        UserError: The SavedModel is damaged, does not fit the data, or gives NaN.
    """
    num_classes = len(description["class_counts"])
    if split.labels.max() >= num_classes:
        raise UserError(
            f"the data set has a class {split.labels.max()}, the model in {folder} has "
            f"{num_classes} classes: use the data set it was trained on, {description['dataset']}."
        )
    loaded = saved_model.load(folder)  # for as long as its signature is used
    serve = loaded.signatures["serving_default"]
    logits, classes = saved_model.predict(serve, split.images, batch_size)
    wrong = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if wrong.size:
        raise UserError(
            f"the model in {folder} gives logits that are not finite for {wrong.size} of "
            f"{len(logits)} images, image {wrong[0]} the first: its training diverged; train again "
            "in another --output_dir with a lower --learning_rate."
        )
    return score(split.labels, classes, logits, description)


def score(labels, classes, logits, description):
    """Metrics of a trained model on a test set.

    Args:
        labels: Class ids `[N]`.
        classes: Predicted class ids `[N]`.
        logits: Logits `[N, C]`.
        description: What `saved_model.export` keeps next to the model, with `class_weights`.

    Returns:
        Dict with the keys of `metrics.json`. `loss` is the loss of the training on this set, with
        the class weights that the run recorded and without the L2 penalty; `train_seconds` is the
        time of all training steps, evaluations left out, and `images_per_second` the rate without
        the first, compiling, step.
    """
    counts, settings = description["class_counts"], description["settings"]
    confusion = confusion_matrix(labels, classes, len(counts))
    loss = methods.of(settings).make_loss(settings, class_weights=description["class_weights"])
    return {
        **classification_report(confusion, counts),
        "loss": float(np.asarray(loss(labels, logits))),
        **{key: description[key] for key in ("epochs", "train_seconds", "images_per_second")},
    }


def with_class_weights(description, folder):
    """The description of a SavedModel with the class weights that its run recorded.

    An older version kept them in `config.json` of the run directory alone; without that file they
    follow from the counts. A line says where they are from.

    Args:
        description: Of `saved_model.description`.
        folder: Its SavedModel folder, a `pathlib.Path`.
    """
    if "class_weights" in description:
        return description
    path = folder.absolute().parent / "config.json"
    try:
        config = files.read_config(path)
        if config["class_counts"] != description["class_counts"]:
            raise files.DamagedError("it is of other class counts")
    except files.DamagedError as error:
        settings, counts = description["settings"], description["class_counts"]
        method = methods.of(settings)
        loss = method.make_loss(settings, class_counts=counts)
        weights = keras.ops.convert_to_numpy(loss.class_weights).tolist()
        given = " and ".join(f"--{p.name}={p.value(settings)}" for p in method.parameters)
        print(
            f"no class weights are recorded in {folder} or {path} ({error}): they are computed "
            f"from the class counts, with {given}"
        )
        return {**description, "class_weights": weights}
    print(f"no class weights are recorded in {folder}: those of {path} are used")
    return {**description, "class_weights": config["class_weights"]}
