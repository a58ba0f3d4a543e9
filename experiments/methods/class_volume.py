"""Class-balanced weights with a volume for each class, estimated from the images, for one beta."""

import dataclasses

from experiments.methods.class_balanced import CB_NORMALIZE, CB_POWER, CLASS_BALANCED
from experiments.methods.method import Method, Parameter

_SIDE = 8  # pixels to a side of the images whose distances are measured
_MOST_BYTES = 2**26  # of the images that are read at once, as float64


def _check_quantile(value):
    from cb_keras.checks import check_number

    if not 0.0 < check_number("volume_quantile", value) < 1.0:
        raise ValueError(
            f"`volume_quantile` must be in (0, 1), a share of the images, got {value}."
        )


VOLUME_QUANTILE = Parameter(
    name="volume_quantile",
    default=0.5,
    help="Share of the training images with another of their class so near that it covers them, in "
    "(0, 1), by which class_volume estimates the volumes: less is nearer to inverse frequency.",
    check=_check_quantile,
    in_name="quantile",
    always_named=True,
)


def small_pixels(images):
    """Mean pixels of images `[N, H, W, channels]` on at most 8 by 8 fields, float64 `[N, ...]`."""
    import numpy as np

    _, height, width, _ = images.shape
    found = []
    at_a_time = max(1, _MOST_BYTES // (8 * int(np.prod(images.shape[1:]))))
    for start in range(0, len(images), at_a_time):
        fields = images[start : start + at_a_time].astype("float64")
        for axis, length in ((1, height), (2, width)):
            sides = min(_SIDE, length)
            edges = np.arange(sides + 1) * length // sides
            shape = [1, 1, 1, 1]
            shape[axis] = sides
            fields = np.add.reduceat(fields, edges[:-1], axis) / np.diff(edges).reshape(shape)
        found.append(fields)
    return np.concatenate(found)


def _weigh(settings, images, class_counts):
    from cb_keras import class_balanced_weights, class_volumes

    volumes = class_volumes(
        small_pixels(images.images),
        images.labels,
        len(class_counts),
        VOLUME_QUANTILE.value(settings),
    )
    power, normalize = CB_POWER.value(settings), CB_NORMALIZE.value(settings)
    weights = class_balanced_weights(class_counts, 1 - 1 / volumes, power, normalize)
    return {"class_volumes": volumes.tolist(), "class_weights": weights.tolist()}


def _with_weights(make):
    """`make`, which is never to fall back to the weights of one beta."""

    def make_with_weights(settings, fused, class_weights=None, class_counts=None):
        del class_counts
        if class_weights is None:
            raise ValueError("the weights of class_volume are those of the images, give them.")
        return make(settings, fused, class_weights=class_weights)

    return make_with_weights


METHODS = (
    Method(
        name="class_volume",
        title="class-balanced weights with a volume of each class, estimated from the images",
        losses=tuple(
            dataclasses.replace(loss, make=_with_weights(loss.make))
            for loss in CLASS_BALANCED.losses
        ),
        parameters=(CB_POWER, CB_NORMALIZE, VOLUME_QUANTILE),
        weigh=_weigh,
    ),
)
