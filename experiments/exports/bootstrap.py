"""Bootstrap intervals over the test images: what other test images of the same kind might give.

They hold nothing of what another seed of the training would change. The images are drawn again,
with replacement, within each class, so that every resample has as many of a class as the test set.
"""

import numpy as np

from experiments.runs.figures import counted

LEVEL = 0.95
RESAMPLES = 1000
SEED = 0
# Images of a class from which on the interval of its figures, or of a mean of classes, holds what
# it says: simulated coverage is 94% with 10 of the rarest class, 56 to 60% with 1.
FEWEST = 10
METHOD = "percentiles of resampled test images, each class resampled by itself"


def resamples(labels, number=RESAMPLES, seed=SEED):
    """Yields `number` arrays of places `[N]` in `labels`, class by class as many as there are."""
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    size_of_each = sizes[labels[order]]
    start_of_each = (np.cumsum(sizes) - sizes)[labels[order]]
    generator = np.random.default_rng(seed)
    for _ in range(number):
        within = (generator.random(len(order)) * size_of_each).astype("int64")
        yield order[start_of_each + within]


def interval(values):
    """`[low, high]` of a figure's values over the resamples; None where it has none."""
    if any(value is None for value in values):
        return None
    return np.percentile(values, (50 * (1 - LEVEL), 50 * (1 + LEVEL))).tolist()


def intervals(labels, figures, names, number=RESAMPLES, seed=SEED):
    """Intervals of figures of resampled images.

    Args:
        labels: Class ids `[N]` of the test images.
        figures: Function of places `[N]` that returns a dict of name to float or None.
        names: Those that are wanted.
        number: Resamples.
        seed: Seed.

    Returns:
        Dict of name to `interval`.
    """
    drawn = [figures(indices) for indices in resamples(labels, number, seed)]
    return {name: interval([of_one[name] for of_one in drawn]) for name in names}


def too_few(support):
    """What is to be said of intervals by so few images of a class; nothing where there are enough.

    Args:
        support: Images of each class, those that have none left out.
    """
    fewest = min(filter(None, support), default=FEWEST)
    if fewest >= FEWEST:
        return ""
    images = counted(fewest, "test image")
    return f"; the rarest class has {images}, too few: they are too narrow"


def about(number=RESAMPLES, seed=SEED):
    """What is recorded next to the intervals."""
    return {"level": LEVEL, "resamples": number, "seed": seed, "method": METHOD}
