"""Long-tailed class counts, and the choice of the examples that have them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cb_keras.checks import check_class_counts, check_imbalance_factor, check_whole_number
from cb_keras.checks.class_ids import FROM_ONE, starts_at_one
from cb_keras.counts import ByClass


def long_tailed_counts(
    num_classes: int, max_count: int, imbalance_factor: float
) -> NDArray[np.int64]:
    """Class counts of Cui's exponential profile.

    `n_c = int(max_count * imbalance_factor^(c / (C - 1)))`, truncated as in the official code.

    Args:
        num_classes: Number of classes C, an int >= 1.
        max_count: Examples of class 0, the largest, an int >= 1.
        imbalance_factor: Smallest / largest class size, in `(0, 1]`; 1 is balanced.

    Returns:
        int64 numpy array of shape `[C]`, never increasing, every count >= 1.

    Raises:
        ValueError: An argument is out of range, or a class would be left without examples.

    Source: Cui et al., CVPR 2019, section 5.1, and its official code.
    """
    num_classes = check_whole_number("num_classes", num_classes, 1)
    max_count = check_whole_number("max_count", max_count, 1)
    factor = check_imbalance_factor(imbalance_factor)
    last = max(num_classes - 1, 1)
    counts = [int(max_count * factor ** (c / last)) for c in range(num_classes)]
    if counts[-1] < 1:
        empty = counts.index(0)
        least = min(1.0, 1.01 / max_count)  # a little more, so that rounding does not undo it
        raise ValueError(
            f"`imbalance_factor`={factor} leaves class {empty} of {num_classes} without examples "
            f"when the largest class has {max_count}; use at least {least:.3g}."
        )
    return np.asarray(counts, dtype="int64")


def choose_long_tail(labels: ArrayLike, class_counts: ByClass, seed: int = 0) -> NDArray[np.int64]:
    """Chooses `class_counts[c]` examples of every class c, by seed.

    Examples are ranked by a 64-bit hash of (seed, class, position), in integer arithmetic alone:
    the same seed chooses the same examples on every machine and with every library version, and
    a smaller count chooses a subset of what a larger one chooses.

    Args:
        labels: Class ids, integers of shape `[N]`.
        class_counts: Examples to keep per class, integers >= 0 of shape `[C]`; a dict, Counter or
            pandas Series is read by class.
        seed: Non-negative integer.

    Returns:
        int64 numpy array of positions into `labels`, ascending, `sum(class_counts)` of them.

    Raises:
        ValueError: A class has fewer examples than asked for, or a label is not a class.
    """
    labels = np.asarray(labels)
    counts = check_class_counts(class_counts, minimum=0, kinds="iu").astype("int64")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"`labels` must be integers of shape [N], got {labels.dtype} {labels.shape}."
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < counts.size:
        raise ValueError(
            f"`labels` must be in [0, {counts.size}), the classes of `class_counts`; "
            f"found {labels.min()} to {labels.max()}."
            + FROM_ONE
            * starts_at_one(labels.min(), labels.max(), counts.size)
        )
    if int(seed) != seed or not 0 <= seed < 2**63:
        raise ValueError(f"`seed` must be an integer in [0, 2^63), got {seed!r}.")
    labels = labels.astype("int64")  # NumPy before 2 counts no uint64
    by_class = np.argsort(labels, kind="stable")  # each class's positions, ascending
    ends = np.cumsum(np.bincount(labels, minlength=counts.size))
    chosen = []
    for c, (count, positions) in enumerate(zip(counts, np.split(by_class, ends[:-1]), strict=True)):
        if count > positions.size:
            raise ValueError(
                f"class {c} has {positions.size} examples, {count} were asked for; "
                "lower `class_counts`."
            )
        rank = np.argsort(_hash(seed, c, positions), kind="stable")
        chosen.append(positions[rank[:count]])
    return np.sort(np.concatenate(chosen)).astype("int64")


def _hash(seed: int, class_id: int, positions: NDArray[np.int64]) -> NDArray[np.uint64]:
    start = _splitmix64(_splitmix64(np.array([seed], "uint64")) + np.uint64(class_id))
    return _splitmix64(start + positions.astype("uint64"))


def _splitmix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One step of the SplitMix64 generator (Steele, Lea & Flood 2014), elementwise, modulo 2^64."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
