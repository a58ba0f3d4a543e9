"""The volume of each class, from how fast its examples come to lie close to one another."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cb_keras.checks import check_number, check_positive, check_whole_number

_PRIOR = 10.0  # images of the class that the volume common to all counts as
_SIZES = 40  # sizes of subset, in equal steps of their logarithm
_ROUNDING = 1e-9  # of a squared radius, so that distances that are equal to it are within it
_ZERO = 1e-12  # of the mean squared length, below which two points are the same one


def class_volumes(
    features: ArrayLike,
    labels: ArrayLike,
    num_classes: int,
    quantile: float = 0.5,
    prior: float = _PRIOR,
    max_examples: int = 5000,
) -> NDArray[np.float64]:
    """Volume N_c of each class, for `beta_c = 1 - 1 / N_c` in place of one beta for all.

    The effective number of n examples is the volume that they are expected to cover, of N in all,
    `E_n = N (1 - (1 - 1/N)^n)`: the next example is one that is covered with probability
    `E_n / N`. Here it is covered if one of the n lies within a radius r of it, and N_c makes the
    formula agree with the data:

    1. r, one for all classes: the `quantile` of the distances of all examples to the nearest of
       their class.
    2. The coverage of class c by n of its k examples, held-out ones averaged over all of them and
       over all subsets of the others: with m_i neighbours of example i within r,
       `cov_c(n) = 1 - mean_i binom(k - 1 - m_i, n) / binom(k - 1, n)`, known as rarefaction.
    3. N_0, common to all: the least squares of `cov_c(n) - (1 - (1 - 1/N)^n)`, of each class the
       mean over the sizes 1 <= n < k, spaced evenly in log n, times k.
    4. N_c: the same of class c alone, after `prior` examples that behave as N_0 says were added,
       `(k cov_c(n) + prior (1 - (1 - 1/N_0)^n)) / (k + prior)`.

    A class of one example has N_0, one of two examples nearly so. Whatever N_c is, the effective
    number of n examples is in `[1, n]`. The same input gives the same volumes, nothing is drawn.

    Args:
        features: Numbers `[N, ...]`, such as small images or the outputs of a network; distances
            are Euclidean.
        labels: Class ids `[N]`, integers in `[0, num_classes)`.
        num_classes: C.
        quantile: Share of the examples that have another of their class within r, in (0, 1): a
            smaller one gives larger volumes, nearer to inverse frequency.
        prior: How many examples the common volume counts as, > 0.
        max_examples: Of a larger class so many are used, evenly spaced in their order.

    Returns:
        float64 `[C]`, each in `[1, N^2]`: pairs can't tell a larger volume.

    Raises:
        ValueError: An argument is out of range, or shapes do not fit.

    Examples:
        >>> import cb_keras
        >>> points = [[0.0], [0.1], [0.2], [0.3], [5.0], [9.0]]
        >>> volumes = cb_keras.class_volumes(points, [0, 0, 0, 0, 1, 1], 2)
        >>> weights = cb_keras.class_balanced_weights([4, 2], beta=1 - 1 / volumes)
        >>> [round(float(weight), 2) for weight in weights]
        [0.9, 1.1]

    Source: ours. Cui et al., CVPR 2019, define the effective number so and take one N for all
    classes; Hurlbert, "The Nonconcept of Species Diversity", Ecology 1971, equation of step 2.
    """
    points, ids = _checked(features, labels, num_classes, max_examples)
    if not 0.0 < check_number("quantile", quantile) < 1.0:
        raise ValueError(f"`quantile` must be in (0, 1), got {quantile}.")
    prior = check_positive("prior", prior)
    of_class = [points[ids == c] for c in range(num_classes)]
    nearest = [_squares(own).min(1) for own in of_class if len(own) > 1]
    if not nearest:
        return np.full(num_classes, float(len(points)) ** 2)
    reach = np.quantile(np.sqrt(np.concatenate(nearest)), quantile) ** 2 * (1 + _ROUNDING)
    reach += _ZERO * np.mean(points**2) * points.shape[1]
    limit = np.log(float(len(points)) ** 2)
    curves = {}
    for c, own in enumerate(of_class):
        if len(own) > 1:
            neighbours = (_squares(own) <= reach).sum(1)
            curves[c] = (len(own), *_coverage(neighbours))
    common = _fit(list(curves.values()), limit)
    volumes = np.full(num_classes, common)
    for c, (k, sizes, coverage) in curves.items():
        shrunk = (k * coverage + prior * _formula(common, sizes)) / (k + prior)
        volumes[c] = _fit([(k, sizes, shrunk)], limit)
    return volumes


def _checked(
    features: ArrayLike, labels: ArrayLike, num_classes: int, max_examples: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The examples that are used, float64 `[M, D]`, and their classes `[M]`."""
    check_whole_number("num_classes", num_classes, 1)
    check_whole_number("max_examples", max_examples, 2)
    points, ids = np.asarray(features), np.asarray(labels)
    if points.dtype.kind not in "iufb" or points.ndim < 2 or not points.size:
        raise ValueError(f"`features` must be numbers [N, ...], got {points.dtype} {points.shape}.")
    if ids.dtype.kind not in "iu" or ids.shape != points.shape[:1]:
        raise ValueError(
            f"`labels` must be {len(points)} class ids, integers of shape [N], got {ids.dtype} "
            f"{ids.shape}."
        )
    wrong = np.flatnonzero((ids < 0) | (ids >= num_classes))
    if wrong.size:
        raise ValueError(
            f"`labels` must be in [0, {num_classes}), got {ids[wrong[0]]} at position {wrong[0]}."
        )
    ids = ids.astype("int64")
    kept = []
    for c in range(num_classes):
        own = np.flatnonzero(ids == c)
        spaced = np.arange(max_examples) * len(own) // max_examples
        kept.append(own if len(own) <= max_examples else own[spaced])
    chosen = np.sort(np.concatenate(kept))
    points = points.reshape(len(points), -1)[chosen].astype("float64")
    if not np.isfinite(points).all():
        raise ValueError("`features` must be finite, but some are not.")
    return points - points.mean(0), ids[chosen]


def _squares(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distances `[k, k]` of the points `[k, D]`, infinite from each to itself."""
    lengths = np.einsum("ij,ij->i", points, points)
    squares = points @ points.T
    squares *= -2.0
    squares += lengths[:, None]
    squares += lengths
    np.maximum(squares, 0.0, out=squares)
    np.fill_diagonal(squares, np.inf)
    return squares


def _coverage(neighbours: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Sizes of subset `[S]`, and the share of examples that one covers `[S]`, over all subsets.

    Args:
        neighbours: How many of the others are close to each example `[k]`.
    """
    others = len(neighbours) - 1
    sizes = np.unique(np.rint(np.geomspace(1, others, _SIZES)).astype("int64"))
    of_each = np.bincount(neighbours, minlength=others + 1)
    m = np.flatnonzero(of_each)
    log = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, others + 1)))])  # of factorials
    far = others - m[:, None] - sizes
    chance = log[others - m][:, None] - log[np.maximum(far, 0)] + log[others - sizes] - log[others]
    missed = np.where(far >= 0, np.exp(chance), 0.0)
    return sizes, 1.0 - of_each[m] @ missed / len(neighbours)


def _formula(volume: ArrayLike, sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """`1 - (1 - 1/N)^n` for volumes `[V]` or one, and sizes `[S]`: `[V, S]` or `[S]`."""
    with np.errstate(divide="ignore"):  # of N = 1, where all is covered at once
        rest = np.log1p(-1.0 / np.asarray(volume, "float64"))
    return -np.expm1(np.multiply.outer(rest, sizes.astype("float64")))


def _fit(curves: list[tuple[int, NDArray[np.int64], NDArray[np.float64]]], limit: float) -> float:
    """The volume of the least squares over curves `(weight, sizes, coverage)`, to 1e-9.

    Args:
        curves: At least one.
        limit: Logarithm of the largest volume.
    """
    low, high = 0.0, limit
    while True:  # ever closer about the best of a grid
        grid = np.linspace(low, high, 101)
        errors = np.zeros(len(grid))
        for weight, sizes, coverage in curves:
            errors += weight * np.mean((_formula(np.exp(grid), sizes) - coverage) ** 2, axis=1)
        best = int(np.argmin(errors))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, 100)]
        if high - low < 1e-9:
            return float(np.exp(grid[best]))
