"""The losses that change the logits by the class counts: adjusted, with margins, or scaled.

All are `w_y CE(s (g_c z_c - m_c [c = y]) + tau log pi_c)` with factors g, a scale s, margins m and
class frequencies `pi_c = n_c / sum n`. What is added belongs to training: a model's accuracy is
that of its raw logits z.
"""

from typing import Any, NamedTuple

import numpy as np
from keras import ops
from numpy.typing import ArrayLike, NDArray

from cb_keras.checks import (
    check_class_counts,
    check_gamma,
    check_label_smoothing,
    check_positive,
    check_tau,
    safe_class_ids,
)
from cb_keras.counts import ByClass, by_class
from cb_keras.functional.preparation import (
    Prepared,
    at_least_float32,
    prepare,
    refused_or,
    registered,
)
from cb_keras.functional.softmax import softmax
from cb_keras.functional.softmax_focal import softmax_focal_terms
from cb_keras.functional.weighting import weighted_targets


class Adjustment(NamedTuple):
    """What a loss does to the logits before the softmax, in float64; None where it does nothing.

    Attributes:
        factor: Of each class's logit, `[C]`, or one number for all.
        offset: Added to each class's logit, `[C]`.
        margin: Taken from the logit of the example's own class, `[C]`, after the factor.
    """

    factor: Any = None
    offset: Any = None
    margin: Any = None


def counts_of_all(class_counts: ByClass) -> NDArray[np.float64]:
    """Counts of the classes, float64 `[C]`, each >= 1, or raises ValueError."""
    counts = check_class_counts(class_counts, minimum=0)
    empty = np.flatnonzero(counts == 0)
    if empty.size:
        some = ", ".join(map(str, empty[:5])) + (" and others" if empty.size > 5 else "")
        raise ValueError(
            f"`class_counts` has no examples of class {some}: the logarithm of its frequency would "
            "be -inf, and the model never learn it. Leave such a class out of the labels and the "
            "model, or give it at least one example."
        )
    return counts


def log_prior(class_counts: ByClass) -> NDArray[np.float64]:
    """`log pi_c` of the class frequencies `pi_c = n_c / sum n`, float64 `[C]`.

    Raises:
        ValueError: A class has no examples (its logarithm would be -inf), or one is no count.
    """
    counts = counts_of_all(class_counts)
    return np.log(counts) - np.log(counts.sum())


def log_shares(name: str, prior: ByClass) -> NDArray[np.float64]:
    """Logarithms of class frequencies over their sum, float64 `[C]`, or raises ValueError."""
    shares = np.asarray(by_class(name, prior), "float64")
    if shares.ndim != 1 or not shares.size or not (np.isfinite(shares) & (shares > 0)).all():
        raise ValueError(f"`{name}` must be finite numbers > 0 of shape [C], got {prior!r}.")
    return np.log(shares) - np.log(shares.sum())


def of_logit_adjusted(class_counts: ByClass, tau: float) -> Adjustment:
    """`z + tau log pi`."""
    return Adjustment(offset=check_tau(tau) * log_prior(class_counts))


def of_ldam(class_counts: ByClass, max_margin: float, scale: float) -> Adjustment:
    """`scale (z_c - m_c [c = y])` with `m_c = max_margin (n_min / n_c)^(1/4)`."""
    counts = counts_of_all(class_counts)
    scale = check_positive("scale", scale)
    margins = check_positive("max_margin", max_margin) * (counts.min() / counts) ** 0.25
    return Adjustment(factor=scale, margin=scale * margins)


def of_vector_scaling(class_counts: ByClass, gamma: float, tau: float) -> Adjustment:
    """`(n_c / n_max)^gamma z_c + tau log pi_c`."""
    counts = counts_of_all(class_counts)
    factor = (counts / counts.max()) ** check_gamma(gamma)
    return Adjustment(factor=factor, offset=check_tau(tau) * log_prior(counts))


def adjusted(adjustment: Adjustment, labels: Any, logits: Any, sparse: bool) -> Any:
    """Logits `[..., C]` as the softmax takes them; margins only where the labels are class ids.

    Float32 at least, since a scale of 30 would cost bfloat16 its last digits.
    """
    dtype = at_least_float32(logits)
    logits = ops.cast(logits, dtype)
    if adjustment.factor is not None:
        logits = logits * ops.convert_to_tensor(adjustment.factor, dtype)
    if adjustment.offset is not None:
        logits = logits + ops.convert_to_tensor(adjustment.offset, dtype)
    if adjustment.margin is None or not sparse:
        return logits
    class_ids, _ = safe_class_ids(labels, logits.shape[-1])
    classes = ops.arange(logits.shape[-1], dtype=class_ids.dtype)
    own = ops.equal(ops.expand_dims(class_ids, -1), classes)
    return logits - ops.where(own, ops.convert_to_tensor(adjustment.margin, dtype), 0.0)


def logit_side(prepared: Prepared, adjustment: Adjustment, label_smoothing: float = 0.0) -> Any:
    """The loss of arguments that are prepared, of raw logits."""
    labels, logits, weights, sparse, void = prepared
    logits = adjusted(adjustment, labels, logits, sparse)
    if sparse or adjustment.margin is None:
        return softmax(Prepared(labels, logits, weights, sparse, void), True, label_smoothing)
    # Each class's own loss has the margin in its own logit: that is in log p / (1 - p), too.
    targets, logits = weighted_targets(labels, logits, weights)
    margin = ops.convert_to_tensor(adjustment.margin, logits.dtype)
    return ops.sum(targets * softmax_focal_terms(targets, logits, 0.0, margin), axis=-1)


@registered
def logit_adjusted_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    class_counts: ByClass,
    tau: float = 1.0,
    class_weights: ByClass | None = None,
    *,
    label_smoothing: float = 0.0,
    ignore_class: int | None = None,
) -> Any:
    """Softmax cross-entropy of adjusted logits, `w_y CE(z + tau log pi, y)`.

    With `tau` 1 it is Balanced Softmax: `-log(n_y e^z_y / sum_c n_c e^z_c)`.

    Args:
        y_true: Labels, `[...]`, `[..., 1]` or `[..., C]`; see `cb_keras.functional`.
        y_pred: Logits `[..., C]`.
        class_counts: Training examples per class `[C]`, integers >= 1; by class where it is a
            dict, Counter or pandas Series.
        tau: Factor of the logarithm of the class frequencies, >= 0; 0 is the plain loss.
        class_weights: `[C]`, or None for weight 1. They multiply the loss and are not in p.
        label_smoothing: Share in [0, 1] of the loss that is spread over all classes.
        ignore_class: Class id of examples that do not count, or None.

    Returns:
        Loss per example, shape `[...]`, at least float32.

    Raises:
        ValueError: An argument is out of range, a class has no examples (its logarithm would be
            -inf), or shapes do not fit together.

    Source: Menon et al., "Long-Tail Learning via Logit Adjustment", ICLR 2021, equation 10;
    Ren et al., "Balanced Meta-Softmax", NeurIPS 2020, equation 4 (`tau` 1).
    """
    adjustment = of_logit_adjusted(class_counts, tau)
    label_smoothing = check_label_smoothing(label_smoothing)
    prepared = _prepared(y_true, y_pred, class_counts, class_weights, ignore_class)
    return refused_or(prepared, logit_side(prepared, adjustment, label_smoothing))


@registered
def ldam_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    class_counts: ByClass,
    max_margin: float = 0.5,
    scale: float = 30.0,
    class_weights: ByClass | None = None,
    *,
    ignore_class: int | None = None,
) -> Any:
    """Label-distribution-aware margin loss, `w_y CE(scale (z_c - m_c [c = y]), y)`.

    `m_c = max_margin (n_min / n_c)^(1/4)`: the rarest class has the largest margin. The z are the
    cosines that `cb_keras.layers.NormalizedDense` gives; with other logits the scale has no
    meaning. Dense labels mix the weighted losses of the classes, each with its own margin.

    Args:
        y_true: Labels, `[...]`, `[..., 1]` or `[..., C]`; see `cb_keras.functional`.
        y_pred: Cosines `[..., C]`, in [-1, 1].
        class_counts: Training examples per class `[C]`, integers >= 1.
        max_margin: Margin of the rarest class, > 0.
        scale: Factor of the logits, > 0.
        class_weights: `[C]`, or None for weight 1. They multiply the loss and are not in p.
        ignore_class: Class id of examples that do not count, or None.

    Returns:
        Loss per example, shape `[...]`, at least float32.

    Raises:
        ValueError: An argument is out of range, or shapes do not fit together.

    Source: Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
    NeurIPS 2019, equations 10 to 13, and its official code.
    """
    adjustment = of_ldam(class_counts, max_margin, scale)
    prepared = _prepared(y_true, y_pred, class_counts, class_weights, ignore_class)
    return refused_or(prepared, logit_side(prepared, adjustment))


@registered
def vector_scaling_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    class_counts: ByClass,
    gamma: float = 0.2,
    tau: float = 1.2,
    class_weights: ByClass | None = None,
    *,
    label_smoothing: float = 0.0,
    ignore_class: int | None = None,
) -> Any:
    """Vector-scaling loss, `w_y CE((n_c / n_max)^gamma z_c + tau log pi_c, y)`.

    The logits of rare classes are shrunk in training, so that the network makes them larger. With
    `tau` 0 it is CDT (class-dependent temperatures), with `gamma` 0 logit adjustment.

    Args:
        y_true: Labels, `[...]`, `[..., 1]` or `[..., C]`; see `cb_keras.functional`.
        y_pred: Logits `[..., C]`.
        class_counts: Training examples per class `[C]`, integers >= 1.
        gamma: Power of the factors, >= 0; usual are 0.05 to 0.3.
        tau: Factor of the logarithm of the class frequencies, >= 0.
        class_weights: `[C]`, or None for weight 1. They multiply the loss and are not in p.
        label_smoothing: Share in [0, 1] of the loss that is spread over all classes.
        ignore_class: Class id of examples that do not count, or None.

    Returns:
        Loss per example, shape `[...]`, at least float32.

    Raises:
        ValueError: An argument is out of range, a class has no examples, or shapes do not fit.

    Source: Kini et al., "Label-Imbalanced and Group-Sensitive Classification under
    Overparameterization", NeurIPS 2021, equation 3; Ye et al., "Identifying and Compensating for
    Feature Deviation in Imbalanced Deep Learning", 2020 (CDT).
    """
    adjustment = of_vector_scaling(class_counts, gamma, tau)
    label_smoothing = check_label_smoothing(label_smoothing)
    prepared = _prepared(y_true, y_pred, class_counts, class_weights, ignore_class)
    return refused_or(prepared, logit_side(prepared, adjustment, label_smoothing))


def _prepared(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    class_counts: ByClass,
    class_weights: ByClass | None,
    ignore_class: int | None,
) -> Prepared:
    """Arguments that are checked, where weights of 1 have the number of classes of the counts."""
    if class_weights is None:
        class_weights = np.ones(counts_of_all(class_counts).size)
    return prepare(y_true, y_pred, class_weights, True, ignore_class)
