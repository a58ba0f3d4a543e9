"""Labels of any kind as numpy arrays, and where an entry stands, for the messages."""

from collections.abc import Iterator, Mapping, Set, ValuesView
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_NOT_ITSELF = (float, np.floating)  # types that have NaN, for a missing label


class Part(NamedTuple):
    """Labels of one batch of a data set, or all of them; the first axis is that of the examples.

    Attributes:
        values: Numbers or text, `[N, ...]`.
        place: Where they are from, for the messages: "" or " of batch 3".
        first: Number of the first example, where `place` does not say it.
    """

    values: NDArray[Any]
    place: str = ""
    first: int = 0

    def entry(self, index: tuple[Any, ...]) -> str:
        """An entry, in the words of a message: `labels[3, 0] of batch 7 is -1`."""
        value = self.values[index]
        index = (index[0] + self.first, *index[1:]) if index else ()
        position = ", ".join(str(int(i)) for i in index)
        value = value.item() if isinstance(value, np.generic) else value
        return f"`labels`[{position}]{self.place} is {value!r}"


def first_where(bad: NDArray[np.bool_]) -> tuple[Any, ...]:
    """Index of the first True."""
    return tuple(np.unravel_index(int(np.argmax(bad)), bad.shape))


def is_frame(values: Any) -> bool:
    """Whether these are the columns of a DataFrame."""
    return hasattr(values, "columns") and hasattr(values, "to_numpy") and np.ndim(values) == 2


def categories_of(values: Any) -> list[Any] | None:
    """Categories of a Categorical, or of a Series of one, in their order; None of others."""
    categories = getattr(getattr(values, "dtype", None), "categories", None)
    return None if categories is None else list(categories)


def codes_of(values: Any) -> NDArray[np.int64]:
    """Positions in `categories_of`; a missing label raises ValueError."""
    codes = np.asarray(getattr(values, "cat", values).codes).astype("int64")
    if (codes < 0).any():
        raise _missing(Part(np.where(codes < 0, np.nan, 0)), first_where(codes < 0))
    return codes


def to_array(labels: Any, place: str = "") -> NDArray[Any]:
    """Labels as a numpy array of numbers or text, whatever they are an array, list or tensor of.

    Raises:
        ValueError: They are neither, one of them is missing, or they have no order.
    """
    _refuse_what_is_no_array(labels)
    narrow = "bfloat16" in str(getattr(labels, "dtype", ""))
    if hasattr(labels, "detach"):  # PyTorch: off its device and its graph
        labels = labels.detach().cpu()
        labels = (labels.float() if narrow else labels).numpy()
    if np.ma.is_masked(labels):
        raise ValueError("`labels` has masked entries: count labels.compressed().")
    values = _as_array(labels)
    if narrow or values.dtype == np.float16:
        values = _of_low_precision(values, 2**8 if narrow else 2**11)
    if values.dtype.kind == "O":
        values = _of_objects(values, place)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    if values.dtype.kind not in "iufbU":
        raise ValueError(
            f"`labels` must be class ids, one-hot labels or text, got dtype {values.dtype}."
        )
    return values


def _refuse_what_is_no_array(labels: Any) -> None:
    if isinstance(labels, Mapping):
        raise ValueError(
            f"`labels` is a {type(labels).__name__}: a mapping of class to count is counted already"
            "; for labels give their list, for several outputs count one after the other."
        )
    if isinstance(labels, Set | ValuesView | Iterator):
        raise ValueError(
            f"`labels` is a {type(labels).__name__}, which has no order or is used up by counting: "
            "give a list, or a data set (tf.data, keras.utils.PyDataset, DataLoader)."
        )
    kind = next((k for k in ("Sparse", "Ragged", "BCOO") if k in type(labels).__name__), None)
    if kind or hasattr(labels, "toarray") or getattr(labels, "is_sparse", False):
        raise ValueError(
            f"`labels` must be dense, got {type(labels).__name__}: use .toarray(), .to_dense() or "
            "tf.sparse.to_dense, and .flat_values of ragged ones."
        )


def _as_array(labels: Any) -> NDArray[Any]:
    try:
        values = np.asarray(labels)
    except ValueError as error:
        raise ValueError(
            "`labels` has rows of different lengths: give class ids, or one-hot labels of one "
            "width; sklearn.preprocessing.MultiLabelBinarizer makes them of lists of names."
        ) from error
    if values.dtype.kind in "US" and not hasattr(labels, "dtype"):
        return np.asarray(labels, dtype=object)  # ["a", None, 1] would be text as a whole
    return values


def _of_objects(values: NDArray[Any], place: str) -> NDArray[Any]:
    """An array of objects as one of text or of numbers."""
    texts = numbers = 0
    for index, value in np.ndenumerate(values):
        if value is None or type(value).__name__ in ("NAType", "NaTType"):
            raise _missing(Part(values, place), index)
        if isinstance(value, _NOT_ITSELF) and value != value:
            raise _missing(Part(values, place), index)
        texts += isinstance(value, str | bytes)
        numbers += isinstance(value, bool | int | float | np.number | np.bool_)
    if texts == values.size:
        decode = np.vectorize(_text, otypes=[object])
        return decode(values).astype("U") if values.size else values.astype("U")
    if numbers != values.size:
        kinds = sorted({type(value).__name__ for value in values.flat})
        raise ValueError(
            f"`labels` must be all class ids or all text, got {' and '.join(kinds[:4])}."
        )
    return np.asarray(values.tolist())


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _missing(part: Part, index: tuple[Any, ...]) -> ValueError:
    return ValueError(
        f"{part.entry(index)}, a missing label: leave the example out, for instance with "
        "labels.dropna()."
    )


def _of_low_precision(values: NDArray[Any], exact: int) -> NDArray[np.float32]:
    """As float32; whole numbers from `exact` on may be others that were rounded."""
    values = values.astype("float32")
    if (values >= exact).any():
        raise ValueError(
            f"`labels` holds {values.max():g} as {'bfloat' if exact < 2**11 else 'float'}16, which "
            f"rounds {exact + 1} to {exact}: cast class ids to int32 before anything else casts "
            "them."
        )
    return values
