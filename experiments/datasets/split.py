"""A part of every class that is set apart: for the test of a set without one, for validation."""

import numpy as np


def counts_apart(class_counts, fraction):
    """How many images of every class are set apart, int64 `[C]`.

    The nearest whole number to the fraction, at least one of a class that has two or more, and
    never all of a class: one that has a single image keeps it.

    Args:
        class_counts: Images per class `[C]`.
        fraction: In [0, 1]; 1 sets everything apart.
    """
    counts = np.asarray(class_counts, "int64")
    if fraction in (0, 1):
        return counts * int(fraction)
    wanted = np.rint(counts * fraction).astype("int64")
    return np.clip(wanted, np.minimum(1, counts // 2), np.maximum(counts - 1, 0))


def apart(labels, num_classes, fraction, seed):
    """Positions of what stays and of what is set apart, by class and seed.

    The choice is that of `cb_keras.choose_long_tail`: the same on every machine.

    Args:
        labels: Class ids, integers `[N]`.
        num_classes: Number of classes C.
        fraction: As for `counts_apart`.
        seed: Non-negative integer.

    Returns:
        `(stays, apart)`, int64 arrays, each ascending.
    """
    import cb_keras

    counts = counts_apart(np.bincount(labels, minlength=num_classes), fraction)
    chosen = cb_keras.choose_long_tail(labels, counts, seed)
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen
