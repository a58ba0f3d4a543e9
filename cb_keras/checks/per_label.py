"""Labels of one output, or of several that are each a yes or no, against predictions by shape."""

from typing import Any

from keras import ops

from cb_keras.checks.labels import Shape, classes_first_hint, known_shape, sizes_fit


def per_label(
    y_true: Any, y_pred: Any, num_labels: int | None, vector_is_one_output: bool
) -> tuple[Any, Any]:
    """Labels and predictions in one form, both `[..., L]`; L is 1 for one output.

    Args:
        y_true: Labels `[..., L]`, or of one output `[...]`, a tensor.
        y_pred: Predictions `[..., L]`, a tensor.
        num_labels: L where it is known.
        vector_is_one_output: Whether predictions `[N]` are N examples of one output; else they are
            one example of N labels.

    Raises:
        ValueError: They do not fit together.
    """
    labels, predictions = known_shape("y_true", y_true), known_shape("y_pred", y_pred)
    if len(predictions) == 1 and vector_is_one_output:
        y_pred = ops.expand_dims(y_pred, -1)
        predictions = (*predictions, 1)
    outputs = predictions[-1] if predictions else None
    if not outputs:
        raise ValueError(
            f"`y_pred` must be [..., L] with a known number of labels L >= 1, got {predictions}."
        )
    if num_labels is not None and num_labels != outputs:
        raise ValueError(_another_number(predictions, num_labels))
    if sizes_fit(labels, predictions):
        return y_true, y_pred
    if outputs == 1 and sizes_fit(labels, predictions[:-1]):
        return ops.expand_dims(y_true, -1), y_pred
    raise ValueError(_no_fit(labels, predictions))


def _another_number(predictions: Shape, num_labels: int) -> str:
    if num_labels == 1:
        return (
            f"`y_pred` has {predictions[-1]} outputs (shape {predictions}) but there are counts or "
            "weights for one, [negative, positive]: give one such pair per label, [L, 2]; or, for "
            "classes that exclude each other, use ClassBalancedSoftmaxCrossentropy."
        )
    return (
        f"`y_pred` has {predictions[-1]} outputs (shape {predictions}) but there are counts or "
        f"weights for {num_labels} labels: give one pair [negative, positive] per output."
        + classes_first_hint(predictions, num_labels)
    )


def _no_fit(labels: Shape, predictions: Shape) -> str:
    wanted = f"{predictions}"
    if predictions[-1] == 1:
        wanted = f"{predictions[:-1]} or {predictions}"
    remedy = ""
    if predictions[-1] != 1 and sizes_fit(labels, predictions[:-1]):
        remedy = (
            " Class ids, of which each example has one, are for the softmax, sigmoid and focal "
            "losses."
        )
    return (
        f"`y_true` has shape {labels}, which fits no labels for `y_pred` of shape {predictions}: "
        f"expected 0/1 labels {wanted}.{remedy}"
    )
