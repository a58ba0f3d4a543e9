"""The losses by name, of arguments that are prepared; for the fused op's gradients."""

from typing import Any, Literal

from cb_keras.functional.focal import focal
from cb_keras.functional.preparation import Prepared
from cb_keras.functional.softmax import softmax


def prepared_crossentropy(
    loss: Literal["softmax", "sigmoid", "focal"],
    labels: Any,
    logits: Any,
    class_weights: Any,
    gamma: Any,
    sparse: bool,
) -> Any:
    """The losses without any check, for gradients that the fused op leaves to these formulas.

    Args:
        loss: Its name; `gamma` is for `"focal"`.
        labels: Class ids `[N]` where `sparse`, else `[N, C]` of the logits' dtype.
        logits: `[N, C]`, float32 or float64.
        class_weights: `[C]`, of the logits' dtype.
        gamma: Finite float >= 0, or a scalar tensor.
        sparse: Whether the labels are class ids.

    Returns:
        Loss per example `[N]`.

    Raises:
        ValueError: There is no loss of this name.
    """
    prepared = Prepared(labels, logits, class_weights, sparse)
    if loss == "softmax":
        return softmax(prepared)
    if loss == "sigmoid":
        return focal(prepared, 0.0)
    if loss == "focal":
        return focal(prepared, gamma)
    raise ValueError(f'`loss` must be "softmax", "sigmoid" or "focal", got {loss!r}.')
