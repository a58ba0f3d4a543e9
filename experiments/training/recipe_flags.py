"""The flags of the strong recipe, none of them in the reference protocol, and their checks."""

import math
import sys

from absl import flags

from experiments import methods
from experiments.cli import UserError
from experiments.runs.recipe import OFF

flags.DEFINE_enum(
    "lr_schedule",
    OFF["lr_schedule"],
    ["steps", "cosine"],
    "The learning rate after the warm-up: down at each of --lr_boundaries, or half a cosine to 0.",
)
flags.DEFINE_integer(
    "cutout",
    OFF["cutout"],
    "Side in pixels of a gray square on every training image, smaller than they are; 0: none. "
    "16 of 32.",
)
flags.DEFINE_float(
    "randaugment",
    OFF["randaugment"],
    "Largest strength of two random operations on every training image, in (0, 1]; 0: none.",
)
flags.DEFINE_float(
    "mixup_alpha",
    OFF["mixup_alpha"],
    "Mixup: every training image mixed with another by a share of Beta(alpha, alpha); 0: none.",
)
flags.DEFINE_float(
    "cutmix_alpha",
    OFF["cutmix_alpha"],
    "CutMix: a rectangle of another on every training image, by such a share; 0: none. With "
    "--mixup_alpha each batch has one of the two.",
)
flags.DEFINE_float(
    "ema",
    OFF["ema"],
    "Momentum of a moving average of all variables of the network, such as 0.999, which is what is "
    "evaluated and exported; 0: none.",
)
flags.DEFINE_float(
    "sam_rho",
    OFF["sam_rho"],
    "Radius of sharpness-aware minimisation, such as 0.1: two gradients a step; 0: none.",
)

NAMES = tuple(OFF)
GROUPS = {"Strong recipe": NAMES}
_ALPHAS = ("mixup_alpha", "cutmix_alpha")
_OWN_STEP = ("ema", "sam_rho")


def mixes(settings):
    """Whether the labels of a training are those of mixed images, `[N, C]`."""
    return any(settings.get(name) for name in _ALPHAS)


def problems(settings):
    """What is wrong with the flags of the recipe, a line each.

    Args:
        settings: Settings of experiments.train.
    """
    yield from _range_problems(settings)
    if settings["strategy"] == "mirrored":
        for name in _OWN_STEP:
            if settings[name]:
                yield (
                    f"--{name}={settings[name]:g} has a training step of its own, for one device: "
                    "leave it or --strategy=mirrored out."
                )
    yield from _problems_of_mixed_labels(settings)


def check_images(settings, image_shape):
    """Refuses what hides whole images, and warns of what hides much of them.

    Args:
        settings: Settings of experiments.train.
        image_shape: `(H, W, channels)` of the training images.

    Raises:
        UserError: The square of `--cutout` is as large as they are, or larger.
    """
    side, (height, width) = settings["cutout"], image_shape[:2]
    words = f"--cutout={side} of images of {height} x {width} pixels"
    usual = f"half of their side, {min(height, width) // 2}, is usual"
    if side >= max(height, width):
        raise UserError(
            f"{words} hides most of each image or all of it; {usual}. A row of a table that has "
            "16 is for images of 32 pixels: leave it out with --rows or --tuned."
        )
    if min(side, height) * min(side, width) > height * width / 4:
        print(f"warning: {words} hides more than usual: {usual}.", file=sys.stderr)


def _range_problems(s):
    if s["cutout"] < 0:
        yield f"--cutout must be 0 or a side in pixels, such as 16, got {s['cutout']}."
    if not 0 <= s["randaugment"] <= 1:
        yield f"--randaugment must be in [0, 1], such as 0.5; got {s['randaugment']:g}."
    for name in _ALPHAS:  # of a smaller one the numbers of the gamma distribution are all 0
        if s[name] != 0 and not 0.01 <= s[name] < math.inf:
            yield f"--{name} must be 0 or a finite number >= 0.01, such as 1; got {s[name]:g}."
    if not 0 <= s["ema"] < 1:
        yield f"--ema must be in [0, 1), such as 0.999; got {s['ema']:g}."
    if not 0 <= s["sam_rho"] < math.inf:
        yield f"--sam_rho must be a finite number >= 0, such as 0.1; got {s['sam_rho']:g}."


def _problems_of_mixed_labels(s):
    """Refuses them for a loss that gives mixed labels something else than the mixed losses."""
    try:
        loss = methods.of(s).loss(s["loss"])
    except ValueError:  # which the checks of the method tell
        return
    for name in _ALPHAS:
        if s[name] and not loss.mixes:
            yield (
                f"--{name} can't be used with --loss={loss.name}, whose loss of mixed labels is "
                "not the mix of their losses: use --loss=softmax, or leave it out."
            )
