"""Orders of the examples of an epoch in which rare classes come more often."""

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
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not labels.size or labels.min() < 0:
        raise ValueError(
            "`labels` must be class ids, integers >= 0 of shape [N] with N >= 1, got "
            f"{labels.dtype} {labels.shape}."
        )
    power = check_power(power)
    size = labels.size if size is None else check_whole_number("size", size, 1)
    seed, epoch = (check_whole_number(k, v, 0) for k, v in (("seed", seed), ("epoch", epoch)))
    generator = np.random.default_rng([seed, epoch])
    _, counts = np.unique(labels, return_counts=True)
    numbers = _numbers(counts, power, size, generator.random())
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    chosen = [
        _repeated(positions, number, generator)
        for positions, number in zip(by_class, numbers, strict=True)
    ]
    return generator.permutation(np.concatenate(chosen))


def _numbers(counts: NDArray[np.int64], power: float, size: int, start: float) -> NDArray[np.int64]:
    """How many examples each class has of `size`: systematic sampling, each to the next integer."""
    if power == 0 and size == counts.sum():
        return counts
    logs = (1 - power) * np.log(counts)
    shares = np.exp(logs - logs.max())
    bounds = np.cumsum(size * shares / shares.sum())
    bounds[-1] = size
    steps = np.floor(np.concatenate([[0.0], bounds]) + start)
    return np.diff(steps).astype("int64")


def _repeated(
    positions: NDArray[np.int64], number: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """`number` of the positions, each equally often, to one."""
    whole, rest = divmod(number, len(positions))
    some = generator.permutation(positions)[:rest]
    return np.concatenate([np.tile(positions, whole), some]).astype("int64")
