"""`class_counts`: training examples per class, of labels in any form."""

import os
from collections.abc import Iterable, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cb_keras.checks import check_whole_number
from cb_keras.counting.arrays import (
    Part,
    categories_of,
    codes_of,
    first_where,
    is_frame,
    to_array,
)
from cb_keras.counting.folder import folder_counts
from cb_keras.counting.streams import parts
from cb_keras.counting.tally import Tally

_VOID = -1  # the class id of labels that `ignore_class` names


def class_counts(
    labels: Any,
    num_classes: int | None = None,
    ignore_class: int | str | None = None,
    classes: Sequence[Any] | None = None,
) -> NDArray[np.int64]:
    """Counts the examples of each class.

    `n_c = sum_i [y_i = c]` of class ids, `n_c = sum_i y_ic` of one-hot and multi-hot labels. What
    goes into `class_balanced_weights` and the losses.

    Labels of one axis, or whose last one has length 1, are class ids or text. With more axes they
    are class ids too (segmentation masks), unless all entries are 0 or 1: then they are one-hot
    where each row of the last axis has exactly one 1, and multi-hot where the last axis has
    `num_classes` > 2 entries. Where that leaves two readings they are refused; `ignore_class` and
    `num_classes=2` say that they are class ids.

    Args:
        labels: One of

            - an array, list or tensor (TensorFlow, JAX, PyTorch) of class ids of any shape, of
              one-hot or multi-hot labels `[..., C]`, or of text;
            - a pandas Series, a Categorical (its categories are in its order), or a DataFrame of
              one-hot columns, in their order;
            - a `tf.data.Dataset`, `keras.utils.PyDataset` or `DataLoader` of `(x, y)`,
              `(x, y, w)`, of dicts with a key label, labels, y, target or targets, or of labels
              alone, with or without batches. It is read once, as in an epoch; sample weights do
              not count;
            - the path of a folder of class folders: its image files (BMP, JPEG, PNG, WebP) at any
              depth below each, the classes in the order of the folders' sorted names. Hidden files
              are left out; links are followed, to a folder that was read before not again.
        num_classes: C; None takes the largest class id + 1, and warns of ids between that do not
            occur.
        ignore_class: Class id (or text) that marks examples without a label, such as 255 or -1;
            not counted.
        classes: The labels of the classes, in the order of the model's outputs. Needed for text.

    Returns:
        int64 numpy array of shape `[C]`; a class of `num_classes` or `classes` without examples
        has 0.

    Raises:
        ValueError: A label is not a class (named with position and value), missing, or text
            without `classes`; there are two readings, or nothing to count; a data set is endless
            or its elements are of another form; a class folder is empty.

    Examples:
        >>> import cb_keras
        >>> cb_keras.class_counts([0, 1, 0, 2, 0]).tolist()
        [3, 1, 1]
        >>> cb_keras.class_counts([[0, 255], [1, 0]], num_classes=2, ignore_class=255).tolist()
        [2, 1]
        >>> cb_keras.class_counts(["dog", "cat", "dog"], classes=["cat", "dog"]).tolist()
        [1, 2]
    """
    names = _check_classes(classes)
    num_classes = _checked_number(num_classes, names)
    if ignore_class is not None and not isinstance(ignore_class, str):
        ignore_class = check_whole_number("ignore_class", ignore_class, -(2**63))
    if isinstance(labels, str | os.PathLike):
        counts = folder_counts(labels, names, ignore_class)
        _checked_number(num_classes, counts.tolist(), "the folder")
        return counts
    if is_frame(labels):
        if len(labels.columns) > 1:
            return _of_columns(labels, num_classes, ignore_class, names)
        labels = labels[labels.columns[0]]
    if categories_of(labels) is not None:
        labels, names = _of_categories(labels, names)
        num_classes = _checked_number(num_classes, names, "the Categorical")
    reader = _Reader(names, ignore_class)
    tally = Tally(num_classes, reader.void)
    for part in parts(labels):
        tally.add(reader.class_ids(part))
    return tally.counts()


def _check_classes(classes: Any) -> list[Any] | None:
    """Returns the labels of the classes as a list, or raises ValueError."""
    if classes is None:
        return None
    if isinstance(classes, str | bytes) or not isinstance(classes, Iterable):
        raise ValueError(f"`classes` must be a list of the classes' labels, got {classes!r}.")
    if isinstance(classes, Set):
        raise ValueError("`classes` is a set, which has no order: give a list.")
    names = [name.item() if isinstance(name, np.generic) else name for name in classes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or not names:
        raise ValueError(f"`classes` has {'no entry' if not names else f'{twice!r} twice'}.")
    if _is_text(names) == any(isinstance(name, str) for name in names):
        return names
    raise ValueError(f"`classes` must be all text or all numbers, got {names!r}.")


def _checked_number(
    num_classes: int | None, names: list[Any] | None, whose: str = "`classes`"
) -> int | None:
    """The number of classes where it is known; ValueError where `names` are of another number."""
    if num_classes is None:
        return None if names is None else len(names)
    if names is not None and num_classes != len(names):
        raise ValueError(f"`num_classes` is {num_classes}, but {whose} has {len(names)} classes.")
    return check_whole_number("num_classes", num_classes, 1)


class _Reader:
    """Class ids of labels that are text or numbers.

    Attributes:
        void: The class id that marks examples without a label, or None.
    """

    def __init__(self, names: list[Any] | None, ignored: int | str | None) -> None:
        self._names = names
        self._ignored = ignored
        self._of_text = names is not None and _is_text(names)
        self._looked_up = isinstance(ignored, str) or (names is not None and not self._of_text)
        self.void = None if ignored is None else _VOID if self._looked_up else int(ignored)
        if names is not None and self._looked_up and ignored in names:
            raise ValueError(f"`ignore_class`={ignored!r} is one of `classes`.")

    def class_ids(self, part: Part) -> Part:
        """Numbers where `classes` are text, or None, are class ids already."""
        text = part.values.dtype.kind == "U"
        if self._names is None and text:
            found = np.unique(part.values).tolist()
            raise ValueError(
                f"`labels` are text, whose order as classes is not known: give classes={found[:9]}"
                f"{' and so on' if len(found) > 9 else ''}, in the order of the model's outputs."
            )
        if self._ignored is not None and text != isinstance(self._ignored, str):
            raise ValueError(
                f"`ignore_class` is {self._ignored!r}, but `labels` are "
                f"{'text' if text else 'numbers'}."
            )
        if self._names is None or (self._of_text and not text):
            return part
        return part._replace(values=self._positions(part, self._names))

    def _positions(self, part: Part, names: list[Any]) -> NDArray[np.int64]:
        found, inverse = np.unique(part.values, return_inverse=True)
        position = {name: i for i, name in enumerate(names)}
        if self._ignored is not None:
            position[self._ignored] = _VOID
        for value in found.tolist():
            if value not in position:
                listed = repr(names[:9]) + (" and so on" if len(names) > 9 else "")
                raise ValueError(
                    f"{part.entry(first_where(part.values == value))}, which is not in `classes`: "
                    f"{listed}."
                )
        ids = np.array([position[value] for value in found.tolist()], "int64")
        return ids[inverse].reshape(part.values.shape)


def _is_text(names: list[Any]) -> bool:
    return all(isinstance(name, str) for name in names)


def _of_categories(labels: Any, names: list[Any] | None) -> tuple[Any, list[Any] | None]:
    """Values of a Categorical; its text categories are the classes where there are no others."""
    categories = categories_of(labels)
    assert categories is not None
    values = np.asarray(categories)[codes_of(labels)]
    if names is None and _is_text(categories):
        names = categories
    return values, names


def _of_columns(
    frame: Any, num_classes: int | None, ignore_class: Any, names: list[Any] | None
) -> NDArray[np.int64]:
    """Sums of the columns of a DataFrame of 0 and 1."""
    if ignore_class is not None:
        raise ValueError("`ignore_class` is for class ids, `labels` is a DataFrame of columns.")
    columns = list(frame.columns)
    if names is not None and sorted(map(repr, names)) != sorted(map(repr, columns)):
        raise ValueError(f"`classes` must be the columns {columns!r} in some order, got {names!r}.")
    _checked_number(num_classes, columns, "the DataFrame")
    values = to_array(frame.to_numpy())
    bad = np.ones(values.shape, bool) if values.dtype.kind == "U" else ~np.isin(values, (0, 1))
    if bad.any():
        raise ValueError(
            f"{Part(values).entry(first_where(bad))}, but a DataFrame of {len(columns)} columns is "
            "read as one-hot labels, 0 or 1: for class ids give their column, "
            f"labels[{columns[0]!r}]."
        )
    counts = (values != 0).sum(axis=0)
    if not counts.sum():
        raise ValueError("`labels` holds no labels: there is nothing to count.")
    order = [columns.index(name) for name in names or columns]
    return np.asarray(counts[order], "int64")
