"""Keras' masks of predictions, by the one private door that Keras has for them."""

from typing import Any

from keras import ops
from keras.src import backend as keras_backend


def mask_of(y_pred: Any) -> Any:
    """The mask that Keras' layers left on the predictions, or None."""
    return keras_backend.get_keras_mask(y_pred)


def with_mask_of(original: Any, y_pred: Any) -> Any:
    """`y_pred`, with the mask of the predictions that it was made of."""
    mask = mask_of(original)
    if mask is not None and y_pred is not original:
        keras_backend.set_keras_mask(y_pred, mask)
    return y_pred


def counted_examples(y_pred: Any, sample_weight: Any, shape: tuple[int | None, ...]) -> Any:
    """Which examples are neither masked nor of sample weight 0, broadcastable bool; None for all.

    Args:
        y_pred: Predictions as they came, with their mask.
        sample_weight: As given to a loss, or None.
        shape: Static shape `[...]` of the losses.
    """
    parts = [part for part in (mask_of(y_pred), sample_weight) if part is not None]
    counted = None
    for part in parts:
        part = ops.convert_to_tensor(part)
        nonzero = ops.not_equal(part, ops.zeros_like(part))
        if len(nonzero.shape) == len(shape) + 1 and nonzero.shape[-1] == 1:
            nonzero = ops.squeeze(nonzero, -1)  # as Keras does with weights [N, 1]
        elif 0 < len(nonzero.shape) == len(shape) - 1 and shape[-1] == 1:
            nonzero = ops.expand_dims(nonzero, -1)
        counted = nonzero if counted is None else ops.logical_and(counted, nonzero)
    return counted
