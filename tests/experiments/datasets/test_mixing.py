"""Cutout, mixup, CutMix and RandAugment against their definitions, on real digits."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from experiments.datasets import Split, mixing, pipeline, randaugment
from experiments.datasets.recipe import Recipe

ALL = Recipe(10, randaugment=0.5, cutout=4, mixup_alpha=1.0, cutmix_alpha=1.0)


@pytest.fixture(scope="module")
def digits(real_digits):
    """The first digits, each with its position as its class, so that a mix can be told apart."""
    images = real_digits[0][:32]
    return Split(images, np.arange(32, dtype="int32"))


def key(*numbers):
    return tf.constant(numbers, tf.int64)


def test_cutout_is_a_gray_square_around_a_pixel_of_the_image_cut_off_at_the_border(digits):
    images = np.repeat(digits.images, 16, axis=0)
    images[images == 128] = 127
    masks = mixing.cutout(tf.constant(images), 4, key(1, 2)).numpy() != images
    assert (mixing.cutout(tf.constant(images), 4, key(1, 2)).numpy()[masks] == 128).all()
    # A square from 2 before its centre to 1 after it, as the official code's.
    pixels = np.arange(8)
    pieces = [(pixels >= c - 2) & (pixels < c + 2) for c in range(8)]
    squares = {(a[:, None] & b).tobytes(): 0 for a in pieces for b in pieces}
    for mask in masks[..., 0]:
        squares[mask.tobytes()] += 1  # KeyError of another shape
    assert len(squares) == 64
    assert scipy.stats.chisquare(list(squares.values())).pvalue > 0.01


def mixed(digits, number, mixup_alpha=0.0, cutmix_alpha=0.0):
    """`(images, share, partners)` by several keys, the last two as the labels tell them."""

    @tf.function
    def mix(key):
        images, labels = tf.constant(digits.images), tf.constant(digits.labels)
        return mixing.mix(images, labels, 32, mixup_alpha, cutmix_alpha, key)

    for i in range(number):
        images, labels = (x.numpy() for x in mix(key(3, i)))
        np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
        own = labels[np.arange(32), np.arange(32)]
        others = labels - np.eye(32) * own[:, None]
        moved = others.max(axis=1) > 0
        share = own[moved].mean() if moved.any() else 1.0
        yield images, share, np.where(moved, others.argmax(axis=1), np.arange(32))


def test_mixup_mixes_images_and_labels_by_one_share_of_the_beta_distribution(digits):
    pixels, shares = digits.images.astype("float64"), []
    for images, share, partner in mixed(digits, 150, mixup_alpha=0.4):
        assert sorted(partner) == list(range(32))  # a permutation
        np.testing.assert_allclose(
            images, share * pixels + (1 - share) * pixels[partner], atol=1e-3
        )
        shares.append(share)
    assert scipy.stats.kstest(shares, scipy.stats.beta(0.4, 0.4).cdf).pvalue > 0.01


def test_cutmix_labels_have_the_share_of_the_pixels_that_are_left_after_clipping(digits):
    pixels, cut = digits.images + np.arange(32, dtype="float32")[:, None, None, None] * 1000, 0
    known = Split(pixels, digits.labels)  # so that each pixel tells whose it is
    for images, share, partner in mixed(known, 100, cutmix_alpha=1.0):
        theirs = images[..., 0] // 1000 == partner[:, None, None]
        theirs &= (partner != np.arange(32))[:, None, None]
        box = theirs.any(axis=0)
        assert (images == np.where(box[None, :, :, None], pixels[partner], pixels)).all()
        assert share == pytest.approx(1 - box.mean(), abs=1e-6)
        rows, columns = box.any(axis=1), box.any(axis=0)
        assert (box == rows[:, None] & columns).all()  # a rectangle
        cut += rows.sum() != columns.sum()
    assert cut > 10  # the images are squares: a box that is none was cut off at the border


def test_with_both_alphas_half_of_the_batches_have_each(digits):
    whole = digits.images.astype("float32")
    kinds = [
        (images == np.where(images == whole, whole, whole[partner])).all()
        for images, _, partner in mixed(digits, 100, mixup_alpha=1.0, cutmix_alpha=1.0)
    ]
    assert 30 < sum(kinds) < 70


@pytest.mark.slow
def test_a_batch_is_a_function_of_epoch_and_step_with_all_of_the_recipe(digits):
    def batches(first):
        dataset = pipeline.training_dataset(digits, 12, 5, first, 3, "crop", recipe=ALL)
        return list(dataset.as_numpy_iterator())

    whole, continued = batches(0), batches(2)
    assert [labels.shape for _, labels in continued] == [(12, 10), (12, 10), (8, 10)]
    for (a, b), (c, d) in zip(whole[6:], continued, strict=True):
        assert np.array_equal(a, c)
        assert np.array_equal(b, d)
    assert not np.array_equal(whole[0][1], whole[3][1])


@pytest.fixture(scope="module")
def augmented(real_digits):
    """Function of an operation's name and a magnitude: `(images, those after it)`."""
    images = real_digits[0][:64]

    def one(name, magnitude, given=images):
        layers = randaugment.RandAugment(magnitude, given.shape[-1], operations=1)
        stream = randaugment._Stream(key(1, 2))
        pixels = tf.constant(given, tf.float32)
        return given, layers._changed(name, pixels, stream).numpy()

    return one


def test_a_small_magnitude_solarises_and_posterises_little(augmented):
    images, found = augmented("solarize", 0.25)
    assert ((found == images) | (found == 255 - images)).all()
    assert (found != images).any()
    assert (images[found != images] >= 255 * 0.75 - 1).all()  # what is bright alone
    images, found = augmented("posterize", 0.25)
    assert (np.abs(found - images) < 2).all()  # one of eight bits
    assert (found != images).any()


def test_every_image_is_equalised_by_its_own_histogram(augmented, real_digits):
    given = np.concatenate([real_digits[0][:3], np.full((1, 8, 8, 1), 7, "uint8")])
    _, found = augmented("equalize", 0.5, given)
    for image, equalised in zip(given, found, strict=True):
        at_most = [(image <= x).sum() for x in image.ravel()]
        least = min(at_most)
        expected = np.array([255 * (n - least) / max(64 - least, 1) for n in at_most])
        same = np.ptp(image) == 0
        np.testing.assert_array_equal(
            equalised.ravel(), image.ravel() if same else np.round(expected)
        )


def test_every_image_has_operations_of_its_own_and_rotations_go_both_ways(augmented, digits):
    images, found = augmented("rotate", 1.0)
    down, across = np.indices((8, 8)) - 3.5

    def tilt(x):  # by the moments of the ink
        ink = x[..., 0].astype("float64")
        return np.arctan2((ink * down * across).sum((1, 2)), (ink * down**2).sum((1, 2)))

    turned = tilt(found) - tilt(images)
    assert (turned > 0.05).any()
    assert (turned < -0.05).any()
    same = np.repeat(digits.images[:1], 32, axis=0)
    changed = randaugment.RandAugment(1.0, 1)(tf.constant(same), key(1, 2)).numpy()
    assert len(np.unique(changed, axis=0)) > 16
