"""Mosaics of scikit-learn's handwritten digits: real images with several objects of uneven classes.

Each mosaic is three by three cells of 8x8 pixels, of which some hold a digit. The digit 0 is the
most frequent, and each next one is rarer, down to a fiftieth for 9.
"""

import numpy as np
from sklearn.datasets import load_digits

VOID = 255
_CELLS, _SIDE = 3, 8


def mosaics(number, first, last, seed):
    """Mosaics of the digits `first` to `last` of the data set, which is ordered by writer.

    Args:
        number: How many.
        first: First digit image to take from, of 1797.
        last: End of those.
        seed: Seed of what is where.

    Returns:
        `(images, present, pixels)`: float32 `[N, 24, 24, 1]` in [0, 1]; which digits are there,
        int32 `[N, 10]`; and the class of each pixel, uint8 `[N, 24, 24]`: 0 for the ground,
        digit + 1 for its stroke, 255 for the blurred border of a stroke, which is neither.
    """
    digits = load_digits()
    images, labels = digits.images[first:last], digits.target[first:last]
    random = np.random.default_rng(seed)
    frequency = 0.02 ** (np.arange(10) / 9)
    side = _CELLS * _SIDE
    mosaic = np.zeros((number, side, side), "float32")
    present = np.zeros((number, 10), "int32")
    pixels = np.zeros((number, side, side), "uint8")
    for i in range(number):
        for row in range(0, side, _SIDE):
            for column in range(0, side, _SIDE):
                if random.random() < 0.5:
                    continue
                digit = random.choice(10, p=frequency / frequency.sum())
                ink = images[random.choice(np.flatnonzero(labels == digit))]
                cell = np.s_[i, row : row + _SIDE, column : column + _SIDE]
                mosaic[cell] = ink / 16
                present[i, digit] = 1
                pixels[cell] = np.select([ink >= 8, ink >= 2], [digit + 1, VOID], 0)
    return mosaic[..., None], present, pixels
