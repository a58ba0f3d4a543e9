"""A part of every class that is set apart: for the test of a set without one, for validation."""

import numpy as np

from experiments.cli import UserError
from experiments.datasets.class_names import some


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


def hold_out(split, class_names, fraction, seed):
    """Holds a part of every class out of the training images, so that it has their tail.

    Args:
        split: `Split` of the training images, its long tail cut.
        class_names: List of C names.
        fraction: As for `counts_apart`, in (0, 1).
        seed: Non-negative integer.

    Returns:
        `(Split to train on, Split held out)`.

    Raises:
        UserError: No class has two images.
    """
    stays, chosen = apart(split.labels, len(class_names), fraction, seed)
    if not chosen.size:
        raise UserError(
            f"--validation_fraction={fraction:g}: every class has a single training image, which "
            "can't be held out; leave the flag out, or get more images."
        )
    held_out = split.take(chosen)
    without = np.setdiff1d(np.arange(len(class_names)), held_out.labels)
    if without.size:
        print(
            f"--validation_fraction: {len(without)} of {len(class_names)} classes have a single "
            "training image, which stays; the validation has none of them: "
            f"{some([class_names[c] for c in without])}"
        )
    return split.take(stays), held_out
