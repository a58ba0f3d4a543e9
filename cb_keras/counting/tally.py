"""Counts class ids or dense labels, whichever the labels turn out to be, part by part."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cb_keras.counting.arrays import Part, first_where
from cb_keras.counts import shortened

_CHUNK = 2**22  # entries that are counted at a time: bincount makes int64 of them
_MOST_BINS = 2**20


class Tally:
    """Counts of labels that come in parts; `counts` decides by all of them what they are.

    One axis, or a last one of length 1: class ids. More axes: class ids, unless all entries of all
    parts are 0 or 1; then one-hot labels where every row of the last axis has exactly one 1, and
    multi-hot ones where the last axis has `num_classes` > 2 entries.

    Args:
        num_classes: C, or None.
        ignore_class: Class id that is not counted, or None.
    """

    def __init__(self, num_classes: int | None, ignore_class: int | None) -> None:
        self._num_classes = num_classes
        self._ignored = ignore_class
        self._of_id: dict[int, int] = {}
        self._columns: NDArray[np.int64] | None = None  # None: nothing yet, or not dense
        self._dense = True
        self._one_hot = True
        self._shape: tuple[int, ...] = ()

    def add(self, part: Part) -> None:
        """Counts the labels of a part.

        Raises:
            ValueError: One of them is not a class.
        """
        values = part.values
        self._shape = values.shape
        self._dense = self._dense and self._add_dense(values)
        found = self._ids_in(part)
        for class_id in found:
            if class_id != self._ignored and not 0 <= class_id < self._limit():
                raise self._outside(part, class_id, found)
        for class_id, count in found.items():
            self._of_id[class_id] = self._of_id.get(class_id, 0) + count

    def counts(self) -> NDArray[np.int64]:
        """Count of each class, `[C]`.

        Raises:
            ValueError: There are no labels, they can be read in two ways, or fit no `num_classes`.
        """
        dense = self._dense and self._columns is not None and self._is_dense(self._columns.size)
        self._of_id.pop(self._ignored, None)  # type: ignore[arg-type]
        if not sum(self._of_id.values()):
            void = " besides those of `ignore_class`" if self._ignored is not None else ""
            raise ValueError(f"`labels` holds no labels{void}: there is nothing to count.")
        if dense:
            assert self._columns is not None
            return self._columns
        self._check_dense_range()
        num_classes = self._num_classes or self._number_found()
        return np.array([self._of_id.get(c, 0) for c in range(num_classes)], dtype="int64")

    def _limit(self) -> float:
        return float("inf") if self._num_classes is None or self._dense else self._num_classes

    def _add_dense(self, values: NDArray[Any]) -> bool:
        """Adds rows of 0 and 1 to the columns; False where the labels can't be dense."""
        if values.ndim < 2 or values.shape[-1] == 1:
            return False
        if self._columns is not None and self._columns.size != values.shape[-1]:
            return False
        if values.dtype != bool and not ((values == 0) | (values == 1)).all():
            return False
        rows = values.reshape(-1, values.shape[-1])
        if self._columns is None:
            self._columns = np.zeros(rows.shape[-1], "int64")
        self._columns += (rows != 0).sum(axis=0)
        self._one_hot = self._one_hot and bool(((rows != 0).sum(axis=1) == 1).all())
        return True

    def _ids_in(self, part: Part) -> dict[int, int]:
        values = part.values
        if values.dtype.kind == "f":
            broken = ~(np.isfinite(values) & (values == np.floor(values)))
            if broken.any():
                raise self._not_whole(part, first_where(broken))
        return count_ids(values)

    def _not_whole(self, part: Part, index: tuple[Any, ...]) -> ValueError:
        value = part.values[index]
        remedy = "leave out examples without a label, or mark them by an `ignore_class`."
        if np.isfinite(value):
            remedy = "cast class ids, and take the largest of soft labels: labels.argmax(-1)."
        return ValueError(f"{part.entry(index)}, which is not a whole number: {remedy}")

    def _outside(self, part: Part, class_id: int, found: dict[int, int]) -> ValueError:
        range_ = f"go from 0 to {self._num_classes - 1}" if self._num_classes else "start at 0"
        hint = f"if it marks examples without a label, give ignore_class={class_id}."
        if class_id == self._num_classes and 0 not in {**self._of_id, **found}:
            hint = f"do the labels start at 1? Then count labels - 1; else {hint}"
        index = first_where(part.values == class_id)
        return ValueError(f"{part.entry(index)}, which is not a class: class ids {range_}; {hint}")

    def _is_dense(self, width: int) -> bool:
        """Whether rows of 0 and 1 are one label per class, and not class ids."""
        of_classes = self._num_classes in (None, width)
        if self._ignored is not None:
            if self._one_hot and of_classes and width > 2:
                raise ValueError(
                    f"`ignore_class`={self._ignored} is for class ids, but `labels` (the last part "
                    f"of shape {self._shape}) are one-hot: leave it out, or give labels.argmax(-1)."
                )
            return False
        if self._one_hot and not of_classes and self._num_classes != 2:
            raise ValueError(
                f"`labels` (the last part of shape {self._shape}) are one-hot labels of {width} "
                f"classes, but `num_classes` is {self._num_classes}."
            )
        if self._one_hot:
            return of_classes
        if self._num_classes is None or width == self._num_classes == 2:
            columns = "labels.sum(axis=0)" if width == 2 else f"num_classes={width}"
            raise ValueError(
                f"`labels` (the last part of shape {self._shape}) hold only 0 and 1: are they "
                f"class ids, or multi-hot labels of {width} classes? Give labels.reshape(-1) for "
                f"the first, {columns} for the second; or binary_counts for both sides of them."
            )
        return width == self._num_classes

    def _check_dense_range(self) -> None:
        """What was let pass while the labels could still be dense."""
        worst = max(self._of_id)
        if self._num_classes is not None and worst >= self._num_classes:
            raise ValueError(
                f"`labels` hold {worst}, which is not a class: class ids go from 0 to "
                f"{self._num_classes - 1}."
            )

    def _number_found(self) -> int:
        """Number of classes by the largest id, where the ids leave no doubt about it."""
        smallest, largest = min(self._of_id), max(self._of_id)
        missing = largest + 1 - len(self._of_id)
        if smallest > 0:
            raise ValueError(
                f"no label is 0, the smallest is {smallest} and the largest {largest}: do the "
                "labels start at 1? Then count labels - 1. Or give num_classes="
                f"{largest + 1}, if class 0 has no examples."
            )
        if missing > len(self._of_id):
            raise ValueError(
                f"`labels` go up to {largest}, but only {len(self._of_id)} of those {largest + 1} "
                f"classes occur: give ignore_class={largest} if that marks examples without a "
                "label, num_classes if there are so many classes, or number them without gaps, "
                "alike in all labels, [ids.index(label) for label in labels] with `ids` those of "
                f"all classes, here {shortened(sorted(self._of_id))}."
            )
        if missing:
            empty = [c for c in range(largest) if c not in self._of_id]
            names = ", ".join(map(str, empty[:5])) + (", ..." if missing > 5 else "")
            warnings.warn(
                f"no label is {names}, which counts 0: give num_classes={largest + 1} to say that "
                "this is right.",
                stacklevel=4,
            )
        return largest + 1


def count_ids(values: NDArray[Any]) -> dict[int, int]:
    """How often each whole number occurs."""
    flat, found = values.reshape(-1), dict[int, int]()
    for start in range(0, flat.size, _CHUNK):
        chunk = flat[start : start + _CHUNK]
        if chunk.min() >= 0 and chunk.max() < _MOST_BINS:
            bins = np.bincount(chunk.astype("int64"))
            pairs = [(c, bins[c]) for c in np.flatnonzero(bins)]
        else:
            pairs = list(zip(*np.unique(chunk, return_counts=True), strict=True))
        for class_id, count in pairs:
            found[int(class_id)] = found.get(int(class_id), 0) + int(count)
    return found
