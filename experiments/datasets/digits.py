"""scikit-learn's handwritten digits, which are in its package."""

import numpy as np

from experiments.datasets.data import Data, Split
from experiments.datasets.source import Source

NAME = "digits"
_TEST_PER_CLASS = 50


def load(name=NAME, data_dir=None, download=False):
    """`Data` of the 1797 images; there is nothing to choose or to download."""
    del name, data_dir, download
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype("uint8")[..., None]
    labels = data.target.astype("int32")
    # The last images of each class: the file is ordered by writer, so these are other hands.
    test = np.sort(
        np.concatenate([np.flatnonzero(labels == c)[-_TEST_PER_CLASS:] for c in range(10)])
    )
    train = np.setdiff1d(np.arange(labels.size), test)
    return Data(
        name=NAME,
        train=Split(images[train], labels[train]),
        test=Split(images[test], labels[test]),
        class_names=[str(c) for c in range(10)],
        augmentation="crop",  # a digit that is flipped is not a digit
    )


SOURCE = Source(
    names=NAME,
    accepts=lambda name: name == NAME,
    load=load,
    full_name=lambda name, data_dir: name,
)
