"""The ResNets for small images, of `cb_keras.resnet_cifar`: `--backbone=resnet8`, `--depth=8`."""

import itertools
import re

from experiments.backbones.family import Family

NAME = "resnet"  # of all of them: --depth says which
DEPTH = 32  # of the protocol, and of a setting that has no effect
_WITH_DEPTH = re.compile(rf"{NAME}(\d+)")


def is_one(name):
    """Whether a name has the form of these networks'."""
    return name == NAME or _WITH_DEPTH.fullmatch(name) is not None


def _settled(settings):
    """The depth that the name has is the setting; one that contradicts it is for `problems`."""
    found = _WITH_DEPTH.fullmatch(str(settings.get("backbone")))
    if not found or settings["backbone"] in _of_imagenet():
        return None
    depth = int(found[1])
    given = settings.get("depth", DEPTH)
    return {"backbone": NAME, "depth": depth} if given in (DEPTH, depth) else None


def _of_imagenet():
    """Names that mean another network to most people: ResNet50 of keras.applications."""
    return {f"{NAME}{depth}" for depth in (50, 101, 152)}


def _problems(settings):
    from cb_keras import checks
    from experiments.backbones import weights

    name, depth = settings["backbone"], settings["depth"]
    yield from weights.problems(settings)
    if name in _of_imagenet():
        number = name.removeprefix(NAME)
        small = f"; --depth={number} is the small ResNet" if int(number) % 6 == 2 else ""
        yield (
            f"--backbone={name} can be mistaken: ResNet{number} is the network of "
            f"keras.applications{small}. Give the one that is meant."
        )
        return
    if name != NAME:
        yield f"--backbone={name} and --depth={depth} contradict each other: give one of them."
    try:
        checks.check_depth(depth)
    except ValueError as error:
        yield f"--depth: {error}"


def _check_images(name, shape):
    """Any size: the last layers are averages over what is left of the image."""


def _make(settings, input_shape, num_classes, head):
    import cb_keras

    return cb_keras.resnet_cifar(
        settings["depth"],
        input_shape,
        num_classes,
        head=head,
        weight_decay=settings["weight_decay"],
        dtype=settings["precision"],
    )


def parameters(depth, channels, num_classes):
    """Number of parameters that are trained, with a head of a kernel and a bias."""
    per_stage = (depth - 2) // 3  # convolutions
    widths = [16, 16, *(f for f in (16, 32, 64) for _ in range(per_stage))][1:]
    kernels = sum(9 * a * b for a, b in itertools.pairwise(widths))
    return 9 * channels * 16 + kernels + 2 * sum(widths) + (64 + 1) * num_classes


FAMILY = Family(
    names=f"{NAME}N (the small ResNet of He et al., N = 6n + 2; {NAME} alone: that of --depth)",
    has=is_one,
    usual=lambda: (NAME, *(f"{NAME}{depth}" for depth in (8, 14, 20, 26, 32, 44, 56, 110))),
    settled=_settled,
    problems=_problems,
    check_images=_check_images,
    make=_make,
)
