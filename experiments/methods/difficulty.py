"""Class-balanced weights times a power of each class's running training error."""

from experiments.methods.class_balanced import (
    CB_BETA,
    CB_NORMALIZE,
    CB_POWER,
    CLASS_BALANCED,
    checked_by,
)
from experiments.methods.method import Method, Parameter

DIFFICULTY_POWER = Parameter(
    name="difficulty_power",
    default=1.0,
    help="Power of a class's running training error in its weight, any finite number; 0 leaves the "
    "class-balanced weights.",
    check=checked_by("check_power"),
    in_name="difficulty",
    always_named=True,
)
DIFFICULTY_MOMENTUM = Parameter(
    name="difficulty_momentum",
    default=0.9,
    help="How much of the running training error is kept from epoch to epoch, in [0, 1); 0 looks "
    "at the last epoch alone.",
    check=checked_by("check_momentum"),
    in_name="momentum",
    always_named=True,
)


def _difficulty(settings, class_counts):
    from cb_keras import callbacks, class_balanced_weights

    normalize = CB_NORMALIZE.value(settings)
    beta, power = CB_BETA.value(settings), CB_POWER.value(settings)
    return callbacks.DifficultyWeights(
        None,
        class_balanced_weights(class_counts, beta, power, normalize),
        power=DIFFICULTY_POWER.value(settings),
        momentum=DIFFICULTY_MOMENTUM.value(settings),
        class_counts=class_counts if normalize == "examples" else None,
    )


METHODS = (
    Method(
        name="difficulty",
        title="class-balanced weights times a power of the class's running training error",
        losses=CLASS_BALANCED.losses,
        parameters=(*CLASS_BALANCED.parameters, DIFFICULTY_POWER, DIFFICULTY_MOMENTUM),
        callback=_difficulty,
    ),
)
