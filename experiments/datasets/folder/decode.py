"""One image file as pixels: which files are taken, and by which rule they become uint8."""

import contextlib

import numpy as np
from PIL import Image, UnidentifiedImageError

from experiments.cli import UserError

# Raise it whenever the same file gives other pixels than before: what is cached is decoded again.
RULE = 1
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
_FORMATS = ("BMP", "JPEG", "PNG", "WEBP")  # by content; the suffix does not have to fit
_ACCEPTED = "accepted: BMP, JPEG, PNG, WebP"
_GRAY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L")
_ORIENTATION = 0x0112  # of EXIF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)


def header(path):
    """What the header of a file says, without its pixels.

    Returns:
        `(height, width, gray)`: the size as the image is to be seen, and whether the file has one
        channel of colour.

    Raises:
        UserError: It is of another type than those that are accepted; names both.
        Exception: Pillow has errors of many kinds for a file that is damaged.
    """
    with _opened(path) as image:
        width, height = image.size
        if _orientation(image) in _SIDEWAYS:
            height, width = width, height
        return height, width, image.mode in _GRAY


def has_colour(path):
    """Whether any pixel of a file is not gray; of one that can't be read, no."""
    try:
        values = np.asarray(decode(path, 3))
    except Exception:  # Pillow has errors of many kinds, which the decoding tells
        return False
    return bool((values != values[..., :1]).any())


def decode(path, channels):
    """The pixels of a file at its own size.

    EXIF rotation is applied; of several pictures in a file the first is taken; 16 bits are rounded
    to 8; transparent images are laid over white; palettes and CMYK become RGB. One channel of a
    colour image is its luma (ITU-R 601), three of a gray one are alike.

    Args:
        path: Path of the file.
        channels: 1 or 3.

    Returns:
        `PIL.Image.Image` of mode L or RGB.

    Raises:
        Exception: As `header`.
    """
    with _opened(path) as image:
        turn = _TURNS.get(_orientation(image))
        image.load()
        upright = image if turn is None else image.transpose(turn)
        return _over_white(_eight_bits(upright)).convert("L" if channels == 1 else "RGB")


def pixels(image, size):
    """A decoded image at the size of a set.

    Means of blocks first, as many pixels as go into one on either axis, then a triangle filter, so
    that every pixel counts; an image that was enlarged by repeating its pixels comes back as it
    was. `exports.resizing.resized` does the same in TensorFlow, where a pixel differs by one at
    most.

    Args:
        image: `PIL.Image.Image` of mode L or RGB.
        size: `(height, width)`.

    Returns:
        uint8 array `[height, width, channels]`.
    """
    height, width = size
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=1.0)
    return np.asarray(image, "uint8").reshape(height, width, -1)


def _opened(path):
    try:
        return Image.open(path, formats=_FORMATS)
    except UnidentifiedImageError:
        raise UserError(f"{_kind(path)} ({_ACCEPTED})") from None


def _kind(path):
    """What a file of no accepted type is, in words."""
    with contextlib.suppress(Exception), Image.open(path) as image:  # errors of many kinds, too
        return f"a {image.format} image"
    return "not an image"


def _orientation(image):
    # Pillow reads the whole file for the EXIF of a PNG, unless it stands in front of the pixels.
    if image.format == "PNG" and "exif" not in image.info:
        return None
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # damaged EXIF, of which Pillow has errors of many kinds, spoils no image
        return None


def _eight_bits(image):
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype("float64") / 257
    return Image.fromarray(np.rint(np.clip(values, 0, 255)).astype("uint8"), "L")


def _over_white(image):
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
