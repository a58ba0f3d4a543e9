"""The losses by name, of arguments that are prepared; for the fused op's gradients."""

from typing import Any, Literal

from cb_keras.checks import void_class_ids
from cb_keras.functional.focal import focal
from cb_keras.functional.logit_side import Adjustment, adjusted
from cb_keras.functional.preparation import Prepared
from cb_keras.functional.softmax import softmax
from cb_keras.functional.softmax_focal import softmax_focal


def prepared_crossentropy(
    loss: Literal["softmax", "sigmoid", "focal", "softmax_focal"],
    labels: Any,
    logits: Any,
    class_weights: Any,
    gamma: Any,
    sparse: bool,
    label_smoothing: float = 0.0,
    ignore_class: int | None = None,
    adjusts: int = 0,
) -> Any:
    """The losses without any check, for gradients that the fused op leaves to these formulas.

    Args:
        loss: Its name; `gamma` is for the focal ones.
        labels: Class ids `[N]` where `sparse`, else `[N, C]` of the logits' dtype.
        logits: `[N, C]`, float32 or float64.
        class_weights: `[C]`, of the logits' dtype; with `adjusts` `[1 + n, C]`.
        gamma: Finite float >= 0, or a scalar tensor.
        sparse: Whether the labels are class ids.
        label_smoothing: In [0, 1], for `"softmax"`.
        ignore_class: Class id of examples that do not count, or None.
        adjusts: Which of factor (1), offset (2) and margin (4) follow the weights, for
            `"softmax"` and `"softmax_focal"`.

    Returns:
        Loss per example `[N]`.

    Raises:
        ValueError: There is no loss of this name.
    """
    if adjusts:
        class_weights, adjustment = _taken_apart(class_weights, adjusts)
        logits = adjusted(adjustment, labels, logits, sparse)
    void = void_class_ids(labels, sparse, ignore_class)
    prepared = Prepared(labels, logits, class_weights, sparse, void)
    if loss == "softmax":
        return softmax(prepared, label_smoothing=label_smoothing)
    if loss == "sigmoid":
        return focal(prepared, 0.0)
    if loss == "focal":
        return focal(prepared, gamma)
    if loss == "softmax_focal":
        return softmax_focal(prepared, gamma)
    names = '"softmax", "sigmoid", "focal" or "softmax_focal"'
    raise ValueError(f"`loss` must be {names}, got {loss!r}.")


def _taken_apart(arrays: Any, adjusts: int) -> tuple[Any, Adjustment]:
    """Class weights, and what follows them."""
    found, number = [], 1
    for bit in (1, 2, 4):
        found.append(arrays[number] if adjusts & bit else None)
        number += bool(adjusts & bit)
    return arrays[0], Adjustment(*found)
