"""A data set: in memory, or in a file that is mapped into it."""

import dataclasses
from typing import Any

import numpy as np

from experiments.datasets.rows import Rows


@dataclasses.dataclass(frozen=True)
class Split:
    """Images uint8 `[N, H, W, channels]`, an array or `Rows`, and class ids int32 `[N]`."""

    images: np.ndarray | Rows
    labels: np.ndarray

    def take(self, positions):
        """The `Split` of these positions, in their order."""
        images = self.images
        taken = images.take(positions) if isinstance(images, Rows) else images[positions]
        return Split(taken, self.labels[positions])


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set.

    Attributes:
        name: What `load` reads these data by and no others, such as `tfds:mnist:3.0.1`.
        train: `Split` of all training images.
        test: `Split` of the test images.
        class_names: List of C names.
        augmentation: The kind that suits the images.
        choices: How it was read, by the names of `Source.choices`: with the same the same data
            are read again.
        resized: Whether the images were resized, as the exported model then does itself.
    """

    name: str
    train: Split
    test: Split
    class_names: list
    augmentation: str
    choices: dict[str, Any] = dataclasses.field(default_factory=dict)
    resized: bool = False
