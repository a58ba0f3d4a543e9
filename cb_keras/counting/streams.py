"""The labels of data sets: `tf.data.Dataset`, `keras.utils.PyDataset`, PyTorch's `DataLoader`."""

import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import keras
from numpy.typing import NDArray

from cb_keras.counting.arrays import Part, to_array
from cb_keras.private_api import tf_data_is_batched

_NAMES = ("label", "labels", "y", "target", "targets")  # of an element that is a dict
_UNBATCHED = 1024  # class ids that are read at a time from a data set without batches
_ENDLESS = (
    "`labels` is an endless {kind}: counting would never end; give the data of one epoch, {how}."
)


def is_stream(labels: Any) -> bool:
    """Whether these are the elements of a data set."""
    return _is_tf_data(labels) or isinstance(labels, keras.utils.PyDataset) or _is_loader(labels)


def parts(labels: Any) -> Iterator[Part]:
    """Labels batch by batch; those that are no data set in one part.

    Each data set is read once, as one epoch of training would, with its progress on standard error.

    Raises:
        ValueError: It is endless, or its elements are not `(x, y)` or `(x, y, w)`.
    """
    if _is_tf_data(labels):
        yield from _of_tf_data(labels)
    elif isinstance(labels, keras.utils.PyDataset):
        yield from _of_py_dataset(labels)
    elif _is_loader(labels):
        yield from _of_loader(labels)
    else:
        values = to_array(labels)
        yield Part(values.reshape(1) if values.ndim == 0 else values)


def split(element: Any) -> tuple[Any, Any]:
    """`(x, y)` of an element of a data set; x is None where it is the labels alone.

    Raises:
        ValueError: It is not known which part of it are the labels.
    """
    if isinstance(element, Mapping):
        names = [name for name in _NAMES if name in element]
        if len(names) != 1:
            raise ValueError(
                f"the elements of `labels` are dicts with the keys {sorted(map(str, element))}, of "
                f"which one must be {', '.join(_NAMES[:-1])} or {_NAMES[-1]}: map them to (x, y)."
            )
        x: Any = {name: part for name, part in element.items() if name != names[0]}
        y = element[names[0]]
    elif isinstance(element, tuple | list):
        if len(element) not in (2, 3):
            raise ValueError(
                f"the elements of `labels` have {len(element)} parts, must be (x, y) or (x, y, w)."
            )
        x, y = element[:2]
    else:
        return None, element
    while isinstance(y, Mapping | tuple | list) and len(y) == 1:
        y = next(iter(y.values() if isinstance(y, Mapping) else y))
    if isinstance(y, Mapping) or (isinstance(y, tuple | list) and any(map(_has_axes, y))):
        names = sorted(map(str, y)) if isinstance(y, Mapping) else list(map(str, range(len(y))))
        raise ValueError(
            f"`labels` has several outputs ({', '.join(names)}): count each by itself, with a data "
            "set that is mapped to (x, y) of that output."
        )
    if y is None:
        raise ValueError("the elements of `labels` are (x, None): there are no labels to count.")
    return x, y


def _has_axes(value: Any) -> bool:
    return hasattr(value, "shape") and tuple(value.shape) != ()


def _is_tf_data(labels: Any) -> bool:
    return hasattr(labels, "element_spec") and hasattr(labels, "cardinality")


def _is_loader(labels: Any) -> bool:
    if "torch" not in sys.modules:
        return False
    import torch.utils.data

    if isinstance(labels, torch.utils.data.Dataset):
        raise ValueError(
            f"`labels` is a {type(labels).__name__} of PyTorch: give the DataLoader that reads it."
        )
    return isinstance(labels, torch.utils.data.DataLoader)


def _of_tf_data(dataset: Any) -> Iterator[Part]:
    """Only the labels are copied out of the pipeline."""
    import tensorflow as tf

    size = int(dataset.cardinality())
    if size == tf.data.INFINITE_CARDINALITY:
        raise ValueError(_ENDLESS.format(kind="data set", how="before .repeat(), or .take(steps)"))
    spec = dataset.element_spec
    x, y = split(spec)
    if not isinstance(y, tf.TensorSpec):
        raise ValueError(f"`labels` must be dense, its elements have labels {y}.")
    labels = dataset.map(
        tf.autograph.experimental.do_not_convert(  # which can't transform `split`, and warns
            lambda *parts: split(parts if isinstance(spec, tuple) else parts[0])[1]
        )
    )
    single = y.shape.rank == 0
    if single:
        labels, size = labels.batch(_UNBATCHED), -(-size // _UNBATCHED) if size > 0 else size
    shapes = [leaf.shape for leaf in tf.nest.flatten(x) if isinstance(leaf, tf.TensorSpec)]
    one_row = y.shape.rank == 1 and _is_one_row(y.shape, shapes)
    if one_row is None and tf_data_is_batched(dataset):
        one_row = False

    def read() -> Iterator[tuple[Part, bool | None]]:
        for index, batch in _with_progress(labels, size):
            place = "" if single else f" of {'element' if one_row else 'batch'} {index}"
            values = to_array(batch, place)
            first = index * _UNBATCHED if single else 0
            yield Part(values[None] if values.ndim == 0 else values, place, first), one_row

    yield from _as_rows(read())


def _is_one_row(y: Any, shapes: Any) -> bool | None:
    """Whether labels of one axis are those of one example, not the class ids of a batch.

    None where the shapes do not say it: x has as many rows as there are labels, or may have.
    """
    if y[0] is None:
        return False
    if any(len(shape) == 0 or shape[0] not in (None, y[0]) for shape in shapes):
        return True
    return None


def _as_rows(parts: Iterator[tuple[Part, bool | None]]) -> Iterator[Part]:
    """Parts with the axis of the examples, of those and whether each is one example's.

    Where that is not known (None), one of the others tells it, or an id that is larger than what a
    one-hot label has, one below 0, or text.

    Raises:
        ValueError: Nothing does.
    """
    known, held = None, []
    for part, one_row in parts:
        if one_row is None:
            if known is None and _has_ids(part.values):
                known = False
            held.append(part)
        else:
            known = one_row if part.values.ndim == 1 else known
        if known is not None:
            yield from (_row(own, known) for own in held)
            held.clear()
        if one_row is not None:
            yield _row(part, one_row)
    if held:
        raise ValueError(
            f"the elements of `labels` have labels of shape {held[0].values.shape}, all in [0, 1], "
            "and what is next to them does not say it: is that one example's one-hot label, or a "
            "batch's class ids? Batch the data set in the first case; in the second give it "
            "without batches (of tf.data: .unbatch()), or the labels alone as one array."
        )


def _has_ids(values: NDArray[Any]) -> bool:
    """Whether these are no one-hot or multi-hot label."""
    return values.dtype.kind == "U" or bool(((values > 1) | (values < 0)).any())


def _row(part: Part, one_row: bool) -> Part:
    return part._replace(values=part.values[None]) if one_row else part


def _of_py_dataset(dataset: Any) -> Iterator[Part]:
    try:
        size = dataset.num_batches
    except NotImplementedError:
        size = None
    if size is None:
        raise ValueError(
            _ENDLESS.format(kind=type(dataset).__name__, how="with a __len__ or `num_batches`")
        )
    for index, batch in _with_progress((dataset[i] for i in range(size)), size):
        place = f" of batch {index}"
        yield Part(to_array(split(batch)[1], place), place)


def _of_loader(loader: Any) -> Iterator[Part]:
    try:
        size = len(loader)
    except TypeError:  # of an IterableDataset, which does not say how long it is
        size = -1
    batched = loader.batch_sampler is not None or loader.batch_size is not None

    def read() -> Iterator[tuple[Part, bool | None]]:
        for index, batch in _with_progress(loader, size):
            x, y = split(batch)
            place = f" of {'batch' if batched else 'element'} {index}"
            values = to_array(y, place)
            one_row: bool | None = False
            if not batched and values.ndim == 1:
                leaves = keras.tree.flatten(x)
                shapes = [tuple(leaf.shape) for leaf in leaves if hasattr(leaf, "shape")]
                one_row = _is_one_row(values.shape, shapes)
            yield Part(values.reshape(1) if values.ndim == 0 else values, place), one_row

    yield from _as_rows(read())


def _with_progress(batches: Any, size: int, seconds: float = 1.0) -> Iterator[tuple[int, Any]]:
    """`enumerate(batches)`; what takes long says on standard error how far it is.

    On a terminal in one line that is rewritten each second, else in a line each half minute.
    """
    stream, start = sys.stderr, time.monotonic()
    terminal = stream.isatty()
    pause = seconds if terminal else 30 * seconds
    last, shown = start, False
    for index, batch in enumerate(batches):
        yield index, batch
        now = time.monotonic()
        if now - last >= pause:
            last, shown = now, True
            text = f"counting labels: {index + 1}{f' of {size}' if size > 0 else ''} batches"
            print(
                f"\r{text}\x1b[K" if terminal else text, end="" if terminal else "\n", file=stream
            )
            stream.flush()
    if shown and terminal:
        print("\r\x1b[K", end="", file=stream, flush=True)
