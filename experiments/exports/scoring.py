"""The loss that a run trains with, and the figures of `metrics.json`."""

import numpy as np

import cb_keras
from cb_keras import metrics
from experiments.runs.files import SHOT_FIGURES


def make_loss(settings, class_counts, fused=False):
    """The class-balanced loss that `loss`, `cb_beta`, `cb_power` and `gamma` name.

    Args:
        settings: Mapping with these four keys.
        class_counts: Training examples per class `[C]`.
        fused: As in the losses; False computes the same on every machine.
    """
    arguments = {"beta": settings["cb_beta"], "power": settings["cb_power"], "fused": fused}
    if settings["loss"] == "softmax":
        return cb_keras.losses.ClassBalancedSoftmaxCrossentropy(class_counts, **arguments)
    if settings["loss"] == "sigmoid":
        return cb_keras.losses.ClassBalancedSigmoidCrossentropy(class_counts, **arguments)
    return cb_keras.losses.ClassBalancedFocalCrossentropy(
        class_counts, gamma=settings["gamma"], **arguments
    )


def score(labels, classes, logits, description):
    """Figures of a trained model on a test set.

    Args:
        labels: Class ids `[N]`.
        classes: Predicted class ids `[N]`.
        logits: Logits `[N, C]`.
        description: What `saved_model.export` keeps beside the model.

    Returns:
        Dict with the keys of `metrics.json`. `loss` is the class-balanced loss on this set,
        without the L2 penalty; `train_seconds` is the time of all training steps, evaluations
        left out, and `images_per_second` the rate without the first, compiling, step.
    """
    counts = description["class_counts"]
    confusion = metrics.confusion_matrix(labels, classes, len(counts))
    loss = make_loss(description["settings"], counts)
    return {
        **metrics.classification_report(confusion, counts),
        "loss": float(np.asarray(loss(labels, logits))),
        **{key: description[key] for key in ("epochs", "train_seconds", "images_per_second")},
    }


def with_todays_shot_groups(config, figures):
    """Figures of a finished run, with the shot figures by the rule of today, as one table needs.

    Args:
        config: `config.json` of the run.
        figures: Its `metrics.json`.

    Returns:
        `(figures, recorded, today)`: the figures, the rule that the run recorded, None where it
        did not, and the rule of today.
    """
    counts, confusion = (  # of any size: a file can hold integers that NumPy has no type for
        np.asarray(numbers, "float64")
        for numbers in (config["class_counts"], figures["confusion_matrix"])
    )
    again = metrics.classification_report(confusion, counts)
    figures = {**figures, **{name: again[name] for name in SHOT_FIGURES}}
    return figures, config.get("shot_rule"), metrics.shot_groups(counts)[1]


def table(figures, class_counts, class_weights, class_names):
    """Lines of a table: per class the training count, the weight and the accuracy."""
    width = max(5, *(len(name) for name in class_names))
    yield f"{'class':<{width}}  {'train images':>12}  {'weight':>8}  {'accuracy':>8}"
    accuracies = figures["per_class_accuracy"]
    for row in zip(class_names, class_counts, class_weights, accuracies, strict=True):
        name, count, weight, accuracy = row
        yield f"{name:<{width}}  {count:>12}  {weight:>8.4f}  {_percent(accuracy):>8}"
    yield ""
    for name in ("accuracy", "balanced", "many", "medium", "few"):
        key = name if name == "accuracy" else f"{name}_accuracy"
        yield f"{key.replace('_', ' '):<18} {_percent(figures[key]):>6}"


def _percent(value):
    return "-" if value is None else f"{value:.4f}"
