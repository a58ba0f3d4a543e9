"""Class-balanced weights whose power changes over the epochs."""

from experiments.methods.class_balanced import (
    CB_BETA,
    CB_NORMALIZE,
    CB_POWER,
    CLASS_BALANCED,
    checked_by,
    one_of,
)
from experiments.methods.method import Method, Parameter

RAMP_START = Parameter(
    name="ramp_start",
    default=0.0,
    help="Power of the class-balanced term in the first epoch of power_ramp, any finite number; "
    "--cb_power is that of the last.",
    check=checked_by("check_power"),
    in_name="start",
    balances=True,
    always_named=True,
)
_SHAPES = ("linear", "cosine", "step")
RAMP_SHAPE = Parameter(
    name="ramp_shape",
    default="linear",
    help="How the power of power_ramp goes from one to the other: linear, cosine, or step, in the "
    "middle of the epochs.",
    check=one_of("ramp_shape", _SHAPES),
    in_name="ramp",
    choices=_SHAPES,
)


def _ramp(settings, class_counts):
    from cb_keras import weight_schedules

    return weight_schedules.power_ramp(
        class_counts,
        settings["train_epochs"],
        start=RAMP_START.value(settings),
        end=CB_POWER.value(settings),
        shape=RAMP_SHAPE.value(settings),
        beta=CB_BETA.value(settings),
        normalize=CB_NORMALIZE.value(settings),
    )


METHODS = (
    Method(
        name="power_ramp",
        title="class-balanced weights whose power goes from --ramp_start to --cb_power",
        losses=CLASS_BALANCED.losses,
        parameters=(*CLASS_BALANCED.parameters, RAMP_START, RAMP_SHAPE),
        schedule=_ramp,
    ),
)
