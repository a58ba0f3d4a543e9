"""What examples that are left out may hold, by a mask or a weight of 0: anything, to no harm."""

from typing import Any

from keras import ops

from cb_keras import private_api
from cb_keras.checks import invalid_class_ids, invalid_multi_hot, void_class_ids
from cb_keras.examples import along_leading, left_out
from cb_keras.functional.weighting import tame_where


def leave_out(
    labels: Any,
    logits: Any,
    sparse: bool,
    mask: Any,
    sample_weight: Any,
    ignore_class: int | None = None,
) -> tuple[Any, Any, Any]:
    """Labels, logits with their mask, and weights; examples that are left out can do no harm."""
    static, shape = tuple(logits.shape[:-1]), ops.shape(logits)[:-1]
    if mask is not None:
        mask = ops.cast(along_leading("mask", mask, static, shape), "bool")
    if sample_weight is not None:
        sample_weight = along_leading("sample_weight", sample_weight, static, shape)
        sample_weight = private_api.not_the_callers(sample_weight)
    out = left_out(mask, sample_weight)
    labels, logits = _harmless_where(out, labels, logits, sparse, ignore_class)
    if mask is not None:
        private_api.set_keras_mask(logits, mask)
    return labels, logits, sample_weight


def _harmless_where(
    out: Any, labels: Any, logits: Any, sparse: bool, ignore_class: int | None
) -> tuple[Any, Any]:
    """Labels and logits, 0 where an example that is left out would have a loss of NaN or infinity.

    Valid labels and usual logits stay: the gradient by the sample weight is computed from them.
    Void ones stay void, for the divisor.
    """
    rows = ops.expand_dims(out, -1)
    if sparse:
        bad = ops.logical_and(out, invalid_class_ids(labels, logits.shape[-1]))
        void = void_class_ids(labels, sparse, ignore_class)
        if void is not None:
            bad = ops.logical_and(bad, ops.logical_not(void))
    else:
        bad = ops.logical_and(rows, invalid_multi_hot(ops.cast(labels, logits.dtype)))
        if ignore_class is not None:
            bad = ops.logical_and(bad, ops.not_equal(labels, ignore_class))
    return ops.where(bad, ops.zeros_like(labels), labels), tame_where(rows, logits)
