"""scikit-learn's digits, and how they are split."""

import numpy as np

from experiments import datasets


def test_digits_are_scikit_learns_images_from_0_to_255(real_digits):
    images, labels = real_digits
    data = datasets.load("digits")
    for split, number in ((data.train, 1297), (data.test, 500)):
        assert split.images.shape == (number, 8, 8, 1)
        assert split.images.dtype == np.uint8
        assert split.labels.shape == (number,)
        assert split.labels.dtype == np.int32
        assert split.images.max() == 255
    assert data.class_names == list("0123456789")
    assert data.augmentation == "crop"  # a digit that is flipped is not a digit
    # Together the two splits are the whole file, no image twice.
    together = np.concatenate([data.train.images, data.test.images]).reshape(1797, -1)
    together = np.column_stack([together, np.concatenate([data.train.labels, data.test.labels])])
    expected = np.column_stack([images.reshape(1797, -1), labels])
    assert sorted(map(tuple, together)) == sorted(map(tuple, expected))


def test_the_test_digits_are_the_last_50_of_each_class_in_file_order(real_digits):
    images, labels = real_digits
    data = datasets.load("digits")
    for c in range(10):
        of_class = images[labels == c]
        np.testing.assert_array_equal(data.test.images[data.test.labels == c], of_class[-50:])
        np.testing.assert_array_equal(data.train.images[data.train.labels == c], of_class[:-50])
