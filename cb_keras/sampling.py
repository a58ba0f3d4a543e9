"""Orders of the examples of an epoch in which rare classes come more often."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cb_keras.checks import check_power, check_whole_number


def epoch_order(
    labels: ArrayLike, power: float, seed: int, epoch: int, size: int | None = None
) -> NDArray[np.int64]:
    """Positions of the examples of one epoch, shuffled, in which class c has a share of its own.

    The share is proportional to `n_c^(1 - power)`: power 0 is every example once, 1 as many of
    each class (class-balanced), 0.5 the square root. Each class has its share of `size` to the
    next whole number, and which of the two is right on average over epochs. Within a class every
    example comes equally often, to one. A pure function of its arguments: the same epoch has the
    same order on every machine, also in a training that is continued.

    Args:
        labels: Class ids, integers >= 0 of shape `[N]`; a class without examples has no share.
        power: Any finite number.
        seed: Integer >= 0.
        epoch: Integer >= 0.
        size: Examples of the epoch, >= 1; None: N.

    Returns:
        int64 numpy array `[size]` of positions into `labels`.

    Raises:
        ValueError: The labels are not class ids, there are none, or an argument is out of range.

    Examples:
        >>> import numpy as np
        >>> import cb_keras
        >>> labels = np.array([0] * 90 + [1] * 10)
        >>> order = cb_keras.sampling.epoch_order(labels, power=1.0, seed=0, epoch=0)
        >>> np.bincount(labels[order]).tolist()
        [50, 50]

    Source: the shares: Kang et al., "Decoupling Representation and Classifier for Long-Tailed
    Recognition", ICLR 2020, equation 1 with q = 1 - power.
    """
    labels, by_class = _positions(labels)
    power = check_power(power)
    size = len(labels) if size is None else check_whole_number("size", size, 1)
    logs = (1 - power) * np.log([len(positions) for positions in by_class])
    once = power == 0 and size == len(labels)
    return _order(by_class, None if once else np.exp(logs - logs.max()), size, seed, epoch)


def progressive_order(
    labels: ArrayLike, seed: int, epoch: int, epochs: int, size: int | None = None
) -> NDArray[np.int64]:
    """Positions of one epoch of a training that goes from every example once to balanced classes.

    The share of class c in epoch e is `(1 - t) n_c / N + t / C` with `t = e / (epochs - 1)`; C is
    the number of classes that have examples. In all else as `epoch_order`.

    Args:
        labels: Class ids, integers >= 0 of shape `[N]`; a class without examples has no share.
        seed: Integer >= 0.
        epoch: Integer >= 0, the first is 0.
        epochs: Epochs of the training, >= 1; later ones are balanced, and so is a single one.
        size: Examples of the epoch, >= 1; None: N.

    Returns:
        int64 numpy array `[size]` of positions into `labels`.

    Raises:
        ValueError: The labels are not class ids, there are none, or an argument is out of range.

    Examples:
        >>> import numpy as np
        >>> import cb_keras
        >>> labels = np.array([0] * 90 + [1] * 10)
        >>> for epoch in (0, 5, 10):
        ...     order = cb_keras.sampling.progressive_order(labels, seed=0, epoch=epoch, epochs=11)
        ...     print(np.bincount(labels[order]))
        [90 10]
        [70 30]
        [50 50]

    Source: Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition",
    ICLR 2020, equation 2.
    """
    labels, by_class = _positions(labels)
    last = check_whole_number("epochs", epochs, 1) - 1
    size = len(labels) if size is None else check_whole_number("size", size, 1)
    t = min(check_whole_number("epoch", epoch, 0) / last, 1.0) if last else 1.0
    counts = np.array([len(positions) for positions in by_class])
    once = t == 0 and size == len(labels)
    shares = (1 - t) * counts / len(labels) + t / len(counts)
    return _order(by_class, None if once else shares, size, seed, epoch)


def _positions(labels: ArrayLike) -> tuple[NDArray[Any], list[NDArray[np.int64]]]:
    """The labels, and the positions of the examples of each class that has some."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not labels.size or labels.min() < 0:
        raise ValueError(
            "`labels` must be class ids, integers >= 0 of shape [N] with N >= 1, got "
            f"{labels.dtype} {labels.shape}."
        )
    _, counts = np.unique(labels, return_counts=True)
    return labels, np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])


def _order(
    by_class: list[NDArray[np.int64]],
    shares: NDArray[np.float64] | None,
    size: int,
    seed: int,
    epoch: int,
) -> NDArray[np.int64]:
    """Positions `[size]` in which the classes have shares `[C]` of any sum; None: each one once."""
    seed, epoch = (check_whole_number(k, v, 0) for k, v in (("seed", seed), ("epoch", epoch)))
    generator = np.random.default_rng([seed, epoch])
    start = generator.random()
    numbers = [len(p) for p in by_class] if shares is None else _numbers(shares, size, start)
    chosen = [
        _repeated(positions, number, generator)
        for positions, number in zip(by_class, numbers, strict=True)
    ]
    return generator.permutation(np.concatenate(chosen))


def _numbers(shares: NDArray[np.float64], size: int, start: float) -> list[int]:
    """How many examples each class has of `size`: systematic sampling, each to the next integer."""
    bounds = np.cumsum(size * shares / shares.sum())
    bounds[-1] = size
    steps = np.floor(np.concatenate([[0.0], bounds]) + start)
    numbers: list[int] = np.diff(steps).astype("int64").tolist()
    return numbers


def _repeated(
    positions: NDArray[np.int64], number: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """`number` of the positions, each equally often, to one."""
    whole, rest = divmod(number, len(positions))
    some = generator.permutation(positions)[:rest]
    return np.concatenate([np.tile(positions, whole), some]).astype("int64")
