"""What is done to a trained model before it is measured: `cb_keras.posthoc` by the flags."""

import warnings

import keras
import numpy as np

from cb_keras import layers, posthoc
from experiments import methods
from experiments.cli import UserError
from experiments.exports import keras_file
from experiments.exports.posthoc_flags import (
    ADJUSTMENT,
    PRIOR,
    TAU_NORM,
    TEMPERATURE,
    searched,
    steps,
)
from experiments.runs import afterwards, data_record

_CHOSEN_BY = {"tau": "balanced_accuracy", "temperature": "class_balanced_nll"}


def apply(model, description, given, held_out, batch_size):
    """Does what the flags say, for a model and flags that are checked.

    Args:
        model: The `keras.Model` of a run; its last layer may be changed.
        description: Of `keras_file.description`.
        given: Mapping of the flags of `posthoc_flags` to their values.
        held_out: `datasets.Split` of training images that the run held out; None where nothing is
            `searched`.
        batch_size: Images per call of the model.

    Returns:
        `(model, about)`: images to the logits after it, and the JSON-able dict that the metrics
        have as `posthoc`.

    Raises:
        UserError: The model has no head that it can be done to.
    """
    asked, counts = steps(given), description["class_counts"]
    about = {"steps": asked, **_chosen_on(given, held_out, len(counts))}
    search = _Search(about)
    tau, layer = given["posthoc_tau"], {}

    def logits():
        return keras_file.predict(model, held_out.images, batch_size)[0]

    if TAU_NORM in asked:
        tau = about["tau"] = _normalize(model, tau, search, logits, held_out)
    if ADJUSTMENT in asked:
        if tau is None:
            tau = search("tau", posthoc.fit_tau, logits(), held_out.labels, counts)
        about["tau"] = layer["tau"] = tau
    if PRIOR in asked:
        about["prior"] = [float(word) for word in given["posthoc_prior"]]
        layer = {"tau": 1.0, "to_prior": about["prior"]}
    if TEMPERATURE in asked:
        layer = {"tau": 0.0, **layer}
        layer["temperature"] = about["temperature"] = given["posthoc_temperature"]
        if layer["temperature"] is None:
            del layer["temperature"]
            before = layers.LogitAdjustment(counts, **layer)(logits())
            scaled = methods.of(description["settings"]).scaled(description["settings"], before)
            found = search("temperature", posthoc.fit_temperature, scaled, held_out.labels)
            layer["temperature"] = about["temperature"] = found
    if not layer:
        return model, about
    adjustment = layers.LogitAdjustment(counts, **layer, name="posthoc")
    return keras.Model(model.inputs[0], adjustment(model.outputs[0])), about


class _Search:
    """Calls what chooses a number, and adds to a record which ends of ranges were reached.

    Args:
        about: `posthoc` of the metrics.
    """

    def __init__(self, about):
        self._about = about

    def __call__(self, name, fit, *arguments):
        """The number `name` that `fit` chooses."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", posthoc.EndOfRangeWarning)
            number = fit(*arguments)
        for warning in caught:
            if issubclass(warning.category, posthoc.EndOfRangeWarning):
                self._about.setdefault(afterwards.END_OF_RANGE, []).append(name)
            else:
                warnings.warn_explicit(
                    warning.message, warning.category, warning.filename, warning.lineno
                )
        return number


def _normalize(model, tau, search, logits, held_out):
    """Divides the weights of the classes by a power of their norms; returns it."""
    try:
        if tau is None:
            tau = search("tau", posthoc.fit_classifier_tau, model, logits(), held_out.labels)
        posthoc.normalize_classifier(model, tau)
    except ValueError as error:
        raise UserError(f"--posthoc={TAU_NORM}: {error}") from error
    return tau


def _chosen_on(given, held_out, num_classes):
    """By which figure of which images numbers are chosen; nothing where all are given."""
    names = searched(given)
    if not names:
        return {}
    counts = np.bincount(held_out.labels, minlength=num_classes)
    return {
        "chosen_by": {name: _CHOSEN_BY[name] for name in names},
        "chosen_on": {
            "split": "validation",
            "fewest_of_a_class": int(counts.min()),
            **data_record.of_split(held_out),
        },
    }
