"""The long tail that is cut from a training set."""

import numpy as np

from experiments.cli import UserError
from experiments.runs import tails


def cut_long_tail(split, num_classes, long_tail, imbalance_factor, seed):
    """The training set to use, and its class counts.

    `exponential` keeps Cui's profile with the size of the smallest class as its largest count;
    `natural` keeps everything.

    Args:
        split: `Split` of all training images.
        num_classes: Number of classes C.
        long_tail: `"exponential"` or `"natural"`.
        imbalance_factor: Smallest / largest class size, in (0, 1].
        seed: Seed of the choice.

    Returns:
        `(Split, class_counts)`, the counts int64 `[C]`, taken from the labels that are kept.

    Raises:
        UserError: A class has no examples, or would have none.
    """
    import cb_keras

    available = np.bincount(split.labels, minlength=num_classes)
    if available.min() < 1:
        raise UserError(
            f"class {int(available.argmin())} has no training examples; a class-balanced loss "
            "needs at least one of every class: prepare the data set with some, or without the "
            "class."
        )
    if long_tail == tails.NATURAL:
        return split, available
    try:
        counts = cb_keras.long_tailed_counts(num_classes, int(available.min()), imbalance_factor)
    except ValueError as error:
        raise UserError(
            f"--imbalance_factor: {error} The cut makes every class as small as the smallest "
            f"first, class {int(available.argmin())} with {available.min()} training images here, "
            f"where the largest has {available.max()}, and the tail is cut from that. Or keep all "
            "images as they are: --long_tail=natural."
        ) from error
    chosen = cb_keras.choose_long_tail(split.labels, counts, seed)
    kept = split.take(chosen)
    return kept, np.bincount(kept.labels, minlength=num_classes)
