"""Cutout, mixup and CutMix of a batch on JAX, of what `recipe_draws` drew: `mixing` without TF."""

import jax
import jax.numpy as jnp

_GRAY = 128  # 0 once it is standardised


def cutout(images, side, rows, columns):
    """A gray square on each image, cut off at the border.

    Args:
        images: uint8 `[B, H, W, channels]`.
        side: Side of the square in pixels.
        rows: Row of its centre, int32 `[B]`.
        columns: Column of its centre, int32 `[B]`.

    Returns:
        uint8 `[B, H, W, channels]`.
    """
    first = rows - side // 2, columns - side // 2
    inside = _box(images, *((at[:, None], at[:, None] + side) for at in first))
    return jnp.where(inside[..., None], jnp.asarray(_GRAY, images.dtype), images)


def mix(images, labels, num_classes, drawn):
    """Each image of a batch with another of it, and their labels by their parts.

    Args:
        images: uint8 `[B, H, W, channels]`.
        labels: Class ids int32 `[B]`.
        num_classes: Number of classes C.
        drawn: What `recipe_draws.mix` returns, of one step.

    Returns:
        `(images float32 [B, H, W, channels], labels float32 [B, C])`.
    """
    other, inside, share, top, bottom, left, right = drawn
    box = _box(images, (top, bottom), (left, right))
    part = jnp.where(box, inside, jnp.float32(1))[..., None]
    pixels, own = images.astype("float32"), jax.nn.one_hot(labels, num_classes, dtype="float32")
    mixed = part * pixels + (1 - part) * pixels[other]
    return mixed, share * own + (1 - share) * own[other]


def _box(images, down, across):
    """Which pixels are in the rectangles, bool `[..., H, W]`, of `(first, end)` each way."""
    height, width = images.shape[1:3]
    rows, columns = jnp.arange(height), jnp.arange(width)
    inside = (rows >= down[0]) & (rows < down[1]), (columns >= across[0]) & (columns < across[1])
    return inside[0][..., :, None] & inside[1][..., None, :]
