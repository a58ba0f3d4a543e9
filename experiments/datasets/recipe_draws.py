"""What the strong recipe draws for the batches of an epoch, in NumPy, for `jax_mixing`.

Centres, partners and which of mixup and CutMix a batch has are the bits that `mixing` draws with
TensorFlow. The shares of the Beta distribution are not, since TensorFlow makes them of floating
point: they are NumPy's, of the same distribution, and with the same version of NumPy the same at
every call.
"""

import numpy as np

from experiments.datasets import draws


def of_epoch(recipe, image_shape, seed, epoch, num_images, batch_size):
    """What is drawn for all steps of an epoch.

    Args:
        recipe: `Recipe`.
        image_shape: `(height, width, channels)`.
        seed: Integer in `[0, 2^31)`.
        epoch: From 0.
        num_images: Images of the epoch.
        batch_size: Images of each of its S steps, B; the last may have fewer.

    Returns:
        Dict of what the recipe has of `"cutout"`, int32 `(rows, columns)`, each `[S, B]`, and
        `"mix"`, what `mix` returns.
    """
    sizes = np.full(draws.steps_per_epoch(num_images, batch_size), batch_size)
    sizes[-1] = num_images - batch_size * (len(sizes) - 1)
    steps, found = np.arange(len(sizes)), {}
    if recipe.cutout:
        keys = draws.stream(seed, epoch, steps, draws.CUTOUT)
        found["cutout"] = _centres(keys, batch_size, image_shape)
    if recipe.mixes:
        keys = draws.stream(seed, epoch, steps, draws.MIX)
        found["mix"] = mix(keys, sizes, image_shape, recipe.mixup_alpha, recipe.cutmix_alpha)
    return found


def mix(keys, sizes, image_shape, mixup_alpha, cutmix_alpha):
    """Who is mixed with whom, and how.

    Args:
        keys: Seeds int64 `[S, 2]`, one for each step.
        sizes: Images of each step, integers `[S]`; B is the largest.
        image_shape: `(height, width, channels)`.
        mixup_alpha: As of `mixing.mix`.
        cutmix_alpha: As there.

    Returns:
        `(other, inside, share, top, bottom, left, right)`: other int32 `[S, B]` are the positions
        in the batch of the images that are mixed in; the image itself has the part `inside`,
        float32 `[S]`, of a pixel in the rectangle `[top, bottom) x [left, right)`, int32 `[S]`, all
        of one outside, and the part `share`, float32 `[S]`, of the label.
    """
    order_keys, kind_keys, share_keys, box_keys = draws.split(keys, 4)
    # The highest of the 23 bits of which TensorFlow makes a number in [0, 1): of one below 0.5.
    is_mixup = (draws.bits(kind_keys, 1)[:, 0] >> np.uint32(22)) & np.uint32(1) == 0
    if not (mixup_alpha and cutmix_alpha):
        is_mixup = np.full(len(sizes), bool(mixup_alpha))
    alphas = np.where(is_mixup, mixup_alpha, cutmix_alpha)
    drawn = [_beta(key, alpha) for key, alpha in zip(share_keys, alphas, strict=True)]
    share = np.array(drawn, "float32")

    height, width = image_shape[:2]
    cut = np.sqrt(1 - share)
    centres = (centre[:, 0] for centre in _centres(box_keys, 1, image_shape))
    (top, bottom), (left, right) = (
        _piece(centre, (side * cut).astype("int32"), side)
        for centre, side in zip(centres, (height, width), strict=True)
    )
    area = ((bottom - top) * (right - left)).astype("float32") / np.float32(height * width)
    whole, zero = np.ones_like(top), np.zeros_like(top)
    return (
        _shuffled(order_keys, sizes),
        np.where(is_mixup, share, np.float32(0)),
        np.where(is_mixup, share, 1 - area),
        np.where(is_mixup, zero, top),
        np.where(is_mixup, whole * height, bottom),
        np.where(is_mixup, zero, left),
        np.where(is_mixup, whole * width, right),
    )


def _centres(keys, number, image_shape):
    """Rows and columns of pixels, int32 `[S, number]`, each anywhere in the image."""
    of_rows, of_columns = draws.split(keys, 2)
    rows = draws.integers(of_rows, number, image_shape[0])
    return rows, draws.integers(of_columns, number, image_shape[1])


def _piece(centre, length, side):
    """First pixel and end of a piece of that length around the centre, cut off at the border."""
    first = centre - length // 2
    return np.maximum(first, 0), np.minimum(first + length, side)


def _shuffled(keys, sizes):
    """A permutation of each step's images, int32 `[S, B]`; what follows a smaller batch is 0."""
    found = np.zeros((len(sizes), sizes.max()), "int32")
    for size in np.unique(sizes):
        steps = np.flatnonzero(sizes == size)
        drawn = draws.bits(keys[steps], max(size - 1, 0)).astype("int64")
        orders = np.tile(np.arange(size, dtype="int32"), (len(steps), 1))
        row = np.arange(len(steps))
        for i in range(size - 1):  # Fisher and Yates, in all steps at once
            other = i + drawn[:, i] % (size - i)
            orders[row, i], orders[row, other] = orders[row, other], orders[row, i].copy()
        found[steps, :size] = orders
    return found


def _beta(key, alpha):
    """One number of Beta(alpha, alpha)."""
    return np.random.Generator(np.random.Philox(key=key.view("uint64"))).beta(alpha, alpha)
