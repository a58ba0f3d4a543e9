"""The figures of `metrics.json`, measured on an exported model."""

import keras
import numpy as np

from cb_keras.metrics import (
    classification_report,
    confusion_matrix,
    recall_report,
    shot_groups,
)
from experiments import methods
from experiments.cli import UserError
from experiments.exports import bootstrap, scores, trained
from experiments.exports.predictions import NORMALIZED_SIGMOID, SIGMOID, Predictions
from experiments.runs import data_record, files, schema

# The figures that have an interval. Not the calibration error, which resampling makes larger.
WITH_INTERVAL = (
    *("accuracy", "balanced_accuracy", "many_accuracy", "medium_accuracy", "few_accuracy"),
    *("macro_f1", "nll"),
)
_OF_RUN = ("epochs", "train_seconds", "images_per_second")  # of whatever split


def evaluate(path, description, split, batch_size):
    """The content of `metrics.json` of the model at `path` on `split`; as `predict`."""
    return of_predictions(predict(path, description, split, batch_size), description)


def predict(path, description, split, batch_size, form=scores.NORMALIZED, run=None):
    """Loads the model at `path` and runs it on `split`.

    Args:
        path: SavedModel folder, or `model.keras` of a run.
        description: Of `trained.description`.
        split: `datasets.Split`, its class ids those of the model.
        batch_size: Images per call of the model.
        form: `scores.NORMALIZED` or `scores.RAW`, of the probabilities.
        run: Function of images and batch size that returns `(logits [N, C], classes [N])`, of the
            model where it is loaded already; None to load it.

    Returns:
        `Predictions`.

    Raises:
        UserError: The model is damaged, does not fit the data, or gives NaN.
    """
    num_classes = len(description["class_counts"])
    if split.labels.max() >= num_classes:
        raise UserError(
            f"the data set has a class {split.labels.max()}, the model in {path} has "
            f"{num_classes} classes: use the data set it was trained on, {description['dataset']}."
        )
    run = run or trained.Trained(path).predict
    logits, classes = run(split.images, batch_size)
    check_finite(logits, path)
    about = {
        **{name: description[name] for name in ("class_names", "class_counts")},
        "test": data_record.of_split(split),
    }
    return predictions_of(split.labels, classes, logits, description["settings"], about, form)


def check_finite(logits, path):
    """Raises UserError where the model at `path` gave logits `[N, C]` that are not finite."""
    wrong = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if wrong.size:
        raise UserError(
            f"the model in {path} gives logits that are not finite for {wrong.size} of "
            f"{len(logits)} images, image {wrong[0]} the first: its training diverged; train again "
            "in another --output_dir with a lower --learning_rate."
        )


def predictions_of(labels, classes, logits, settings, about, form=scores.NORMALIZED):
    """`Predictions` of labels and predicted classes `[N]`, and of logits `[N, C]`."""
    found, name = probabilities(settings, logits, form), kind(settings, form)
    return Predictions(labels, classes, logits, found, {**about, "probabilities": name})


def kind(settings, form):
    """What `probabilities` are called, as in `metrics.json`."""
    if methods.of(settings).head(settings) != SIGMOID:
        return "softmax"  # of logits or of cosines
    return NORMALIZED_SIGMOID if form == scores.NORMALIZED else SIGMOID


def probabilities(settings, logits, form=scores.NORMALIZED):
    """Probabilities float64 `[N, C]` of logits.

    They are those of the SavedModel, in float64, where a small one is not 0. Those of a sigmoid
    head are one yes or no a class and do not sum to 1: they are divided by their sum, unless the
    form is `scores.RAW`.
    """
    method = methods.of(settings)
    if keras.backend.backend() == "jax":  # whose tensors are float32 at most
        found = scores.probabilities(method.head(settings), method.scaled(settings, logits))
    else:
        logits = keras.ops.convert_to_tensor(logits, "float64")
        found = keras.ops.convert_to_numpy(method.probabilities(settings, logits))
    return scores.normalized(found) if kind(settings, form) == NORMALIZED_SIGMOID else found


def of_predictions(predictions, description):
    """Metrics of a trained model on a test set.

    Args:
        predictions: `Predictions`.
        description: What `saved_model.export` keeps next to the model, with `class_weights`.

    Returns:
        Dict with the keys of `metrics.json`. `loss` is the loss of the training on this set, with
        the class weights that the run recorded and without the L2 penalty; `train_seconds` is the
        time of all training steps, evaluations left out, and `images_per_second` the rate without
        the first, compiling, step. `nll` is null with raw probabilities of a sigmoid head.
    """
    counts, settings = description["class_counts"], description["settings"]
    loss = methods.of(settings).make_loss(
        settings, class_counts=counts, class_weights=description["class_weights"]
    )
    return {
        **_of_counts(predictions, counts),
        **_of_classes(predictions, len(counts)),
        **_of_probabilities(predictions, counts),
        "loss": float(np.asarray(loss(predictions.labels, predictions.logits))),
        **{name: description[name] for name in _OF_RUN},
    }


def of_validation(metrics):
    """The part `validation` of `metrics.json`, of the metrics of the images that were held out."""
    return {name: figure for name, figure in metrics.items() if name not in _OF_RUN}


def _of_counts(predictions, class_counts):
    """The accuracies, and the confusion matrix where there are not too many classes for one."""
    labels, classes, number = predictions.labels, predictions.classes, len(class_counts)
    if number <= schema.LARGEST_MATRIX:
        return classification_report(confusion_matrix(labels, classes, number), class_counts)
    counted = scores.Counted.of(labels, classes, number)
    report = recall_report(counted.right, counted.support, class_counts)
    return {**report, "confusion_matrix": None}


def _of_classes(predictions, num_classes):
    """Per class precision, F1, images and AUC; the recall is `per_class_accuracy`."""
    counted = scores.Counted.of(predictions.labels, predictions.classes, num_classes)
    areas = scores.area_under_curve(predictions.labels, predictions.probabilities)
    return {
        "per_class_precision": scores.plain(counted.precision),
        "per_class_f1": scores.plain(counted.f1),
        "per_class_auc": scores.plain(areas),
        "support": counted.support.tolist(),
        "auc": None if np.isnan(areas).all() else float(np.nanmean(areas)),
    }


def _of_probabilities(predictions, class_counts):
    """Macro-F1, calibration error and likelihood, and how sure the figures are."""
    images, (groups, _) = predictions.images, shot_groups(class_counts)

    def resampled(chosen):
        return scores.figures(images.chosen(chosen), len(class_counts), groups, calibration=False)

    found = scores.figures(images, len(class_counts), groups)
    right = images.labels == images.classes
    return {
        **{name: found[name] for name in ("macro_f1", "ece", "nll")},
        "probabilities": predictions.about["probabilities"],
        "reliability": {
            name: scores.plain(of_bins)
            for name, of_bins in zip(
                ("images", "confidence", "accuracy"),
                scores.reliability(images.confidence, right),
                strict=True,
            )
        },
        "intervals": {
            **bootstrap.about(),
            **bootstrap.intervals(images.labels, resampled, WITH_INTERVAL),
        },
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
