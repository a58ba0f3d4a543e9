"""Folders of real images: scikit-learn's digits and photographs, as files."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def write(real_digits):
    """Function of (folder, name of a digit, number) that writes so many of that digit as PNGs."""
    images, labels = real_digits

    def write_some(folder, digit, number, suffix=".png", scale=1):
        folder.mkdir(parents=True, exist_ok=True)
        chosen = images[labels == digit][:number, :, :, 0]
        for i, image in enumerate(chosen.repeat(scale, axis=1).repeat(scale, axis=2)):
            Image.fromarray(image).save(folder / f"{i:03d}{suffix}")
        return chosen

    return write_some


@pytest.fixture(scope="session")
def photographs():
    """scikit-learn's two photographs, uint8 `[427, 640, 3]`."""
    from sklearn.datasets import load_sample_images

    return [np.asarray(image) for image in load_sample_images().images]
