"""`binary_counts`: negatives and positives of one output, or of each of several labels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cb_keras.checks import check_whole_number
from cb_keras.counting.arrays import Part, first_where, is_frame, to_array
from cb_keras.counting.streams import parts


def binary_counts(
    labels: Any, num_labels: int | None = None, ignore_class: int | None = None
) -> NDArray[np.int64]:
    """Counts the negatives and the positives of one output, or of each of L labels.

    `[sum_i (1 - y_il), sum_i y_il]` of label l: what ClassBalancedBinaryCrossentropy takes.

    Args:
        labels: 0 or 1 (or bool), `[N]` or `[N, 1]` of one output, `[N, L]` of L labels; with more
            axes the last one is that of the labels, and `num_labels` must say so. An array, list,
            tensor, pandas Series or DataFrame (a column per label), or a data set of such labels,
            as in `class_counts`.
        num_labels: L; 1 counts all entries as those of one output (masks `[N, H, W]`). None: by
            the shape.
        ignore_class: Value that marks an entry without a label, such as -1; not counted.

    Returns:
        int64 numpy array, `[n_negative, n_positive]` of one output, `[L, 2]` of several labels.

    Raises:
        ValueError: An entry is not 0 or 1 (named with position and value), the number of labels is
            another or not certain, there is nothing to count, or as `class_counts`.

    Examples:
        >>> import cb_keras
        >>> cb_keras.binary_counts([0, 1, 0, 0]).tolist()
        [3, 1]
        >>> cb_keras.binary_counts([[0, 1], [1, 1], [0, 0]]).tolist()
        [[2, 1], [1, 2]]
    """
    if num_labels is not None:
        num_labels = check_whole_number("num_labels", num_labels, 1)
    if ignore_class is not None:
        ignore_class = check_whole_number("ignore_class", ignore_class, -(2**63))
        if ignore_class in (0, 1):
            raise ValueError(f"`ignore_class` must be neither 0 nor 1, got {ignore_class}.")
    if is_frame(labels):
        labels = to_array(labels.to_numpy())
    total: NDArray[np.int64] | None = None
    for part in parts(labels):
        width = _width(part, num_labels)
        if total is not None and total.shape[0] != width:
            raise ValueError(
                f"`labels`{part.place} has {width} labels an example, those before it had "
                f"{total.shape[0]}."
            )
        counted = _counted(part, width, ignore_class)
        total = counted if total is None else total + counted
    if total is None or not total.sum():
        raise ValueError("`labels` holds no labels: there is nothing to count.")
    return total if total.shape[0] > 1 else total[0]


def _width(part: Part, num_labels: int | None) -> int:
    shape = part.values.shape
    width = 1 if len(shape) < 2 or num_labels == 1 else shape[-1]
    if num_labels is not None and width != num_labels:
        raise ValueError(
            f"`labels`{part.place} of shape {shape} has {width} labels an example, but "
            f"`num_labels` is {num_labels}."
        )
    if num_labels is None and len(shape) > 2 and width > 1:
        raise ValueError(
            f"`labels`{part.place} has shape {shape}: give num_labels=1 for masks of one output, "
            f"or num_labels={width} if the last axis is that of the labels."
        )
    return width


def _counted(part: Part, width: int, ignored: int | None) -> NDArray[np.int64]:
    values = part.values
    if values.dtype.kind == "U":
        raise ValueError(
            f"{part.entry((0,) * values.ndim)}, which is text: give 0 and 1, as labels == 'yes'."
        )
    rows = values.reshape(-1, width)
    positive, negative = rows == 1, rows == 0
    valid = (positive | negative).reshape(values.shape)
    if ignored is not None:
        valid |= values == ignored
    if not valid.all():
        index = first_where(~valid)
        remedy = f"if it marks entries without a label, give ignore_class={values[index]}."
        if values[index] == -1:
            remedy = f"labels of -1 and 1 are (labels + 1) // 2; {remedy}"
        elif not float(values[index]).is_integer():
            remedy = "round soft labels, and leave out entries without a label."
        raise ValueError(f"{part.entry(index)}, but labels must be 0 or 1; {remedy}")
    return np.stack([negative.sum(axis=0), positive.sum(axis=0)], axis=1).astype("int64")
