"""A data set in memory."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Split:
    """Images uint8 `[N, H, W, channels]` and class ids int32 `[N]`."""

    images: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set in memory.

    Attributes:
        name: What `load` reads these data by and no others, such as `tfds:mnist:3.0.1`.
        augmentation: The kind that suits the images.
    """

    name: str
    train: Split
    test: Split
    class_names: list
    augmentation: str
