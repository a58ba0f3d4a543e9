"""Every kind of image file becomes the pixels that are to be seen."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from experiments.cli import UserError
from experiments.datasets.folder import decode
from experiments.exports import resizing

GRAY = np.arange(0, 240, 5, dtype="uint8").reshape(6, 8)


def decoded(path, channels):
    image = decode.decode(path, channels)
    return decode.pixels(image, image.size[::-1])


def saved(tmp_path, image, suffix=".png", **options):
    path = tmp_path / f"image{suffix}"
    image.save(path, **options)
    return path


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_gray_image_has_its_values_in_every_mode(tmp_path, mode, channels):
    deep = Image.fromarray(GRAY.astype("uint16") * 257)
    image = deep if mode == "I;16" else Image.fromarray(GRAY).convert(mode)
    found = decoded(saved(tmp_path, image), channels)
    np.testing.assert_array_equal(found, np.repeat(GRAY[..., None], channels, axis=2))
    assert found.dtype == np.uint8


def test_bits_are_black_and_white(tmp_path):
    bits = GRAY > 100
    found = decoded(saved(tmp_path, Image.fromarray(bits)), 1)
    np.testing.assert_array_equal(found[..., 0], bits * 255)


def test_sixteen_bits_are_rounded_to_eight(tmp_path):
    values = np.array([[0, 128, 129, 257, 65535, 65406]], "uint16")
    found = decoded(saved(tmp_path, Image.fromarray(values)), 1)[..., 0]
    assert found.tolist() == [[0, 0, 1, 1, 255, 254]]  # value / 257, to the nearest


@pytest.mark.parametrize(("mode", "channels"), [("LA", 1), ("LA", 3), ("RGBA", 1), ("RGBA", 3)])
def test_what_is_transparent_is_laid_over_white(tmp_path, mode, channels):
    alpha = np.full(GRAY.shape, 128, "uint8")
    alpha[0], alpha[1] = 0, 255
    image = Image.fromarray(GRAY).convert(mode)
    image.putalpha(Image.fromarray(alpha))
    found = decoded(saved(tmp_path, image), channels).astype(int)
    share = alpha / 255
    expected = share * GRAY + (1 - share) * 255
    assert np.abs(found - expected[..., None]).max() <= 1
    assert (found[0] == 255).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1"])
def test_a_colour_that_is_marked_transparent_is_white(tmp_path, mode):
    values = np.array([[0, 255, 0, 255]], "uint8")
    image = Image.fromarray(values).convert(mode)
    transparent = {"RGB": (0, 0, 0), "P": image.getpixel((0, 0))}.get(mode, 0)
    found = decoded(saved(tmp_path, image, transparency=transparent), 1)
    assert found.ravel().tolist() == [255, 255, 255, 255]


def test_cmyk_is_seen_as_rgb(tmp_path, photographs):
    photograph = Image.fromarray(photographs[0])
    path = saved(tmp_path, photograph.convert("CMYK"), ".jpg", quality=95)
    difference = np.abs(decoded(path, 3).astype(int) - photographs[0])
    assert difference.mean() < 3


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".jpg", ".jpeg"])
def test_every_format_is_read(tmp_path, photographs, suffix):
    exact = {"lossless": True} if suffix == ".webp" else {"quality": 95}
    path = saved(tmp_path, Image.fromarray(photographs[1]), suffix, **exact)
    difference = np.abs(decoded(path, 3).astype(int) - photographs[1])
    assert difference.mean() < 2
    assert (difference.max() == 0) == (suffix in (".png", ".bmp", ".webp"))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied_and_known_from_the_header(
    tmp_path, photographs, orientation, suffix
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    small = Image.fromarray(photographs[0]).resize((40, 24))
    path = saved(tmp_path, small, suffix, exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))  # Pillow's own
    np.testing.assert_array_equal(decoded(path, 3), expected)
    assert decode.header(path) == (*expected.shape[:2], False)


def test_of_a_moving_picture_the_first_is_taken(tmp_path):
    first, second = Image.fromarray(GRAY), Image.fromarray(255 - GRAY)
    path = saved(tmp_path, first, ".png", save_all=True, append_images=[second])
    np.testing.assert_array_equal(decoded(path, 1)[..., 0], GRAY)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_what_is_not_an_image_is_an_error(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for read in (decode.header, lambda path: decode.decode(path, 3)):
        with pytest.raises(UserError, match=r"^not an image \(accepted: BMP, JPEG, PNG, WebP\)$"):
            read(path)


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "PPM"])
def test_an_image_of_another_type_is_told_which_it_is_and_which_are_accepted(tmp_path, kind):
    path = tmp_path / "a.png"
    Image.fromarray(GRAY).save(path, format=kind)
    for read in (decode.header, lambda path: decode.decode(path, 3)):
        with pytest.raises(
            UserError, match=rf"^a {kind} image \(accepted: BMP, JPEG, PNG, WebP\)$"
        ):
            read(path)


SIZES = [(32, 32), (224, 224), (427, 320), (50, 640), (600, 900), (1, 1), (61, 91), (213, 319)]


@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_those_of_the_exported_model_to_one_in_255(photographs, size):
    for photograph in photographs:
        found = decode.pixels(Image.fromarray(photograph), size).astype(int)
        expected = resizing.resized(tf.constant(photograph[None]), size)[0].numpy()
        assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("size", [(300, 400), (427, 900), (600, 640)])
def test_without_whole_blocks_the_filter_is_tensorflows_own(photographs, size):
    for photograph in photographs:
        found = decode.pixels(Image.fromarray(photograph), size).astype(int)
        expected = tf.round(tf.image.resize(photograph, size, "bilinear", antialias=True)).numpy()
        assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("factors", [(2, 2), (1, 7), (5, 3), (6, 1)])
def test_means_of_blocks_are_pillows_own(photographs, factors):
    image = photographs[1][:200, :300]
    found = resizing._block_means(
        tf.constant(image[None]), tf.constant([200, 300]), tf.constant(factors)
    )
    expected = np.asarray(Image.fromarray(image).reduce(factors[::-1]))
    np.testing.assert_array_equal(found[0], expected)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_an_image_that_was_enlarged_by_repeating_pixels_comes_back(photographs, factor):
    small = photographs[0][:40, :30]
    large = small.repeat(factor, axis=0).repeat(factor, axis=1)
    np.testing.assert_array_equal(decode.pixels(Image.fromarray(large), (40, 30)), small)


def test_an_image_of_the_size_asked_for_is_not_changed(photographs):
    photograph = photographs[0]
    found = decode.pixels(Image.fromarray(photograph), photograph.shape[:2])
    np.testing.assert_array_equal(found, photograph)
