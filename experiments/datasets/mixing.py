"""Cutout, mixup and CutMix of a batch, each a pure function of the keys of its random numbers."""

import tensorflow as tf

_GRAY = 128  # 0 once it is standardised


def cutout(images, side, key):
    """A gray square on each image, its centre anywhere in it, cut off at the border.

    Args:
        images: uint8 `[B, H, W, channels]`, H and W known.
        side: Side of the square in pixels.
        key: Seed `[2]` of a stateless stream.

    Returns:
        uint8 `[B, H, W, channels]`.

    Source: DeVries and Taylor, 2017; gray as in the official code of AutoAugment.
    """
    height, width = images.shape[1:3]
    rows, columns = _centres(tf.shape(images)[:1], height, width, key)
    inside = _inside(rows, side, height)[:, :, None] & _inside(columns, side, width)[:, None]
    return tf.where(inside[..., None], tf.constant(_GRAY, images.dtype), images)


def mix(images, labels, num_classes, mixup_alpha, cutmix_alpha, key):
    """Each image of a batch with another of it, and their labels by their parts.

    One share `lambda ~ Beta(alpha, alpha)` for the batch, and one permutation. Mixup is
    `lambda x_i + (1 - lambda) x_j`; CutMix puts a rectangle of `1 - lambda` of the area of x_j on
    x_i, cut off at the border, and the labels have the share that is left of it. Where both have
    an alpha a batch has one of them, with equal chances.

    Args:
        images: uint8 `[B, H, W, channels]`, H and W known.
        labels: Class ids int32 `[B]`.
        num_classes: Number of classes C.
        mixup_alpha: Of mixup; 0 for none.
        cutmix_alpha: Of CutMix; 0 for none. One of the two at least is more.
        key: Seed `[2]` of a stateless stream.

    Returns:
        `(images float32 [B, H, W, channels], labels float32 [B, C])`.

    Source: Zhang et al., ICLR 2018; Yun et al., ICCV 2019.
    """
    order_key, kind_key, share_key, box_key = tf.unstack(_split(key, 4))
    number = tf.shape(images)[0]
    other = tf.random.experimental.stateless_shuffle(tf.range(number), order_key, alg="philox")
    images = tf.cast(images, tf.float32)
    theirs = tf.gather(images, other)

    def mixup():
        share = _beta(mixup_alpha, share_key)
        return share * images + (1 - share) * theirs, share

    def cutmix():
        box, share = _box(images.shape[1:3], _beta(cutmix_alpha, share_key), box_key)
        return tf.where(box[None, :, :, None], theirs, images), share

    if mixup_alpha and cutmix_alpha:
        first = tf.random.stateless_uniform([], kind_key, alg="philox") < 0.5
        mixed, share = tf.cond(first, mixup, cutmix)
    else:
        mixed, share = mixup() if mixup_alpha else cutmix()
    own = tf.one_hot(labels, num_classes)
    return mixed, share * own + (1 - share) * tf.gather(own, other)


def _box(shape, share, key):
    """A rectangle of about `1 - share` of an image, bool `[H, W]`, and the share outside of it."""
    height, width = shape
    cut = tf.sqrt(1 - share)
    row, column = _centres([1], height, width, key)
    down = _inside(row, tf.cast(height * cut, tf.int32), height)[0]
    across = _inside(column, tf.cast(width * cut, tf.int32), width)[0]
    box = down[:, None] & across[None]
    return box, 1 - tf.reduce_mean(tf.cast(box, tf.float32))


def _centres(shape, height, width, key):
    """Rows and columns of pixels, int32 of that shape, each anywhere in the image."""
    of_rows, of_columns = tf.unstack(_split(key, 2))
    draw = tf.random.stateless_uniform
    rows = draw(shape, of_rows, 0, height, tf.int32, alg="philox")
    return rows, draw(shape, of_columns, 0, width, tf.int32, alg="philox")


def _inside(centres, length, side):
    """Which of `side` pixels are in a piece of that length around each centre, bool `[B, side]`."""
    first = centres[:, None] - length // 2
    pixels = tf.range(side)[None]
    return (pixels >= first) & (pixels < first + length)


def _beta(alpha, key):
    """One number of Beta(alpha, alpha), a float32 scalar."""
    ones = tf.random.stateless_gamma([2], key, alpha, dtype=tf.float64)
    return tf.cast(ones[0] / (ones[0] + ones[1]), tf.float32)


def _split(key, number):
    """`number` keys `[number, 2]` of one."""
    return tf.random.split(key, number, alg="philox")
