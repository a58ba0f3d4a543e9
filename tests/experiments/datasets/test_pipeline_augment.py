"""The augmentation, against every crop and flip that a loop over one image can make."""

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from experiments.datasets import Split, pipeline


def augment(images, seed=0, epoch=0, step=0, flip=True):
    return pipeline.augment(images, seed, epoch, step, flip).numpy()


def candidates(image, pad_y, pad_x):
    """(row, column, flipped) -> that crop of the zero-padded image, by plain slicing."""
    height, width, channels = image.shape
    padded = np.zeros((height + 2 * pad_y, width + 2 * pad_x, channels), image.dtype)
    padded[pad_y : pad_y + height, pad_x : pad_x + width] = image
    for row in range(2 * pad_y + 1):
        for column in range(2 * pad_x + 1):
            crop = padded[row : row + height, column : column + width]
            yield (row, column, False), crop
            yield (row, column, True), crop[:, ::-1]


def search(image, crop, pad_y, pad_x):
    """The one draw that makes `crop` from `image`."""
    found = [d for d, c in candidates(image, pad_y, pad_x) if np.array_equal(c, crop)]
    assert len(found) == 1
    return found[0]


def random_images(number, shape):
    return np.random.default_rng(1).integers(1, 256, (number, *shape), dtype="uint8")


@pytest.mark.parametrize(("shape", "pad"), [((32, 32, 3), (4, 4)), ((8, 8, 1), (1, 1))])
def test_every_image_is_one_crop_of_its_own_zero_padded_pixels(shape, pad):
    images = random_images(40, shape)
    crops = augment(images)
    draws = [search(i, c, *pad) for i, c in zip(images, crops, strict=True)]
    assert len({d[2] for d in draws}) == 2  # flipped and not
    assert len({d[:2] for d in draws}) > 4
    assert (crops == 0).any()  # the padding is raw zeros


def test_images_that_are_not_square_are_padded_an_eighth_of_each_side():
    images = random_images(200, (16, 24, 2))
    draws = [search(i, c, 2, 3) for i, c in zip(images, augment(images), strict=True)]
    assert {d[0] for d in draws} == set(range(5))
    assert {d[1] for d in draws} == set(range(7))


def test_without_flip_no_image_is_flipped():
    images = random_images(60, (8, 8, 1))
    crops = augment(images, flip=False)
    assert not any(search(i, c, 1, 1)[2] for i, c in zip(images, crops, strict=True))


@pytest.mark.parametrize(
    ("kind", "flips", "offsets"),
    [("none", {False}, 1), ("crop", {False}, 9), ("crop_flip", {False, True}, 9)],
)
def test_the_batches_of_a_training_are_cropped_and_mirrored_as_their_kind_says(
    kind, flips, offsets
):
    images = random_images(120, (8, 8, 1))
    split = Split(images, np.arange(120, dtype="int32"))
    dataset = pipeline.training_dataset(split, 120, 0, 0, 1, kind)
    ((crops, labels),) = dataset.as_numpy_iterator()
    draws = [search(i, c, 1, 1) for i, c in zip(images[labels], crops, strict=True)]
    assert {flipped for *_, flipped in draws} == flips
    assert len({(row, column) for row, column, _ in draws}) == offsets


@pytest.mark.parametrize(("side", "pad"), [(32, 4), (28, 4), (8, 1), (64, 8), (1, 1)])
def test_the_padding_is_an_eighth_of_the_side(side, pad):
    assert pipeline.padding(side) == pad  # 4 for 32: the protocol


def test_uint8_stays_uint8_and_the_shape_stays():
    crops = augment(random_images(5, (8, 8, 1)))
    assert crops.dtype == np.uint8
    assert crops.shape == (5, 8, 8, 1)


def draws_of(number, side, step=0, **where):
    """Rows, columns and flips of many draws, read off images that hold their coordinates."""
    coordinates = np.stack(np.meshgrid(*[np.arange(1, side + 1)] * 2, indexing="ij"), axis=-1)
    images = np.broadcast_to(coordinates.astype("uint8"), (number, side, side, 2))
    crops = augment(images, step=step, **where)
    pad, middle = pipeline.padding(side), side // 2
    rows = crops[:, middle, middle, 0].astype(int) - 1 - middle + pad
    flips = crops[:, middle, middle, 1] > crops[:, middle, middle + 1, 1]
    column = np.where(flips, side - 1 - middle, middle)
    columns = crops[:, middle, middle, 1].astype(int) - 1 - column + pad
    return rows, columns, flips.astype(int)


def test_the_coordinates_read_off_are_those_of_the_search():
    coordinates = np.stack(np.meshgrid(*[np.arange(1, 9)] * 2, indexing="ij"), axis=-1)
    images = np.broadcast_to(coordinates.astype("uint8"), (50, 8, 8, 2))
    searched = [search(i, c, 1, 1) for i, c in zip(images, augment(images), strict=True)]
    np.testing.assert_array_equal(np.transpose(draws_of(50, 8)), searched)


@pytest.mark.parametrize(("side", "offsets"), [(32, 9), (8, 3)])
def test_offsets_are_uniform_and_half_of_the_images_are_flipped(side, offsets):
    rows, columns, flips = draws_of(5400, side)
    for values, number in ((rows, offsets), (columns, offsets), (flips, 2)):
        counts = np.bincount(values)
        assert counts.size == number
        assert chisquare(counts).pvalue > 1e-3


def test_rows_columns_and_flips_are_independent():
    rows, columns, flips = draws_of(5400, 8)
    for a, b in ((rows, columns), (rows, flips), (columns, flips)):
        assert chi2_contingency(np.histogram2d(a, b, bins=(3, b.max() + 1))[0]).pvalue > 1e-3


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}, {"step": 1}])
def test_seed_epoch_and_step_each_give_draws_of_their_own(other):
    rows, columns, flips = draws_of(2000, 8)
    for a, b in zip((rows, columns, flips), draws_of(2000, 8, **other), strict=True):
        table = np.histogram2d(a, b, bins=(a.max() + 1, b.max() + 1))[0]
        assert chi2_contingency(table).pvalue > 1e-3


def test_epoch_and_step_are_not_interchangeable():
    assert not np.array_equal(
        draws_of(500, 8, epoch=1, step=2)[0], draws_of(500, 8, epoch=2, step=1)[0]
    )
