"""Losses whose logits the class counts change, and weights that come in later in the training."""

from experiments.methods.class_balanced import (
    CB_BETA,
    CB_NORMALIZE,
    CB_POWER,
    CLASS_BALANCED,
    checked_by,
)
from experiments.methods.method import Loss, Method, Parameter

TAU = Parameter(
    name="tau",
    default=1.0,
    help="Factor of the logarithm of the class frequencies, >= 0; 1 is Balanced Softmax.",
    check=checked_by("check_tau"),
    in_name="tau",
    balances=True,
    always_named=True,
)
VS_GAMMA = Parameter(
    name="vs_gamma",
    default=0.15,
    help="Power of the logits' factors (n_c / n_max)^vs_gamma, >= 0.",
    check=checked_by("check_gamma"),
    in_name="gamma",
    balances=True,
    always_named=True,
)
MAX_MARGIN = Parameter(
    name="max_margin",
    default=0.5,
    help="Margin of the rarest class, > 0.",
    check=checked_by("check_positive", "max_margin"),
    in_name="margin",
    balances=True,
    always_named=True,
)
SCALE = Parameter(
    name="scale",
    default=30.0,
    help="Factor of the cosines, > 0.",
    check=checked_by("check_positive", "scale"),
    in_name="scale",
    always_named=True,
)


def _check_drw_start(value):
    from cb_keras.checks import check_number

    if not 0.0 <= check_number("drw_start", value) <= 1.0:
        raise ValueError(f"`drw_start` must be in [0, 1], a share of the epochs, got {value}.")


DRW_START = Parameter(
    name="drw_start",
    default=0.8,
    help="Share of the epochs after which the class weights come in, in [0, 1].",
    check=_check_drw_start,
    in_name="drw",
    always_named=True,
)


def make_of_counts(name, **parameters):
    """Function that makes the class `name` of `cb_keras.losses`, by argument and `Parameter`."""

    def make(settings, fused, class_counts, class_weights=None):
        from cb_keras import losses

        own = {argument: parameter.value(settings) for argument, parameter in parameters.items()}
        own["fused"] = "auto" if fused else False  # the op has margins of class ids alone
        return getattr(losses, name)(class_counts, **own, class_weights=class_weights)

    return make


def _deferred(settings, class_counts):
    """Equal weights, then class-balanced ones from `drw_start` of the epochs on."""
    from cb_keras import class_balanced_weights, weight_schedules

    weights = class_balanced_weights(
        class_counts, *(p.value(settings) for p in (CB_BETA, CB_POWER, CB_NORMALIZE))
    )
    start = round(DRW_START.value(settings) * settings["train_epochs"])
    return weight_schedules.deferred(weights, start)


def _deferred_loss(make):
    """`make`, whose loss has the weights that come in, by which a run is measured."""

    def make_with_weights(settings, fused, class_counts, class_weights=None):
        if class_weights is None:
            class_weights = _deferred({**settings, "train_epochs": 0}, class_counts)(0)
        return make(settings, fused, class_counts=class_counts, class_weights=class_weights)

    return make_with_weights


def _softmax(make, head="softmax", logit_scale=None):
    return (Loss("softmax", head, make, fused_op=True, logit_scale=logit_scale),)


_VECTOR_SCALING = make_of_counts("VectorScalingCrossentropy", gamma=VS_GAMMA, tau=TAU)
_LDAM = make_of_counts("LDAMCrossentropy", max_margin=MAX_MARGIN, scale=SCALE)
_DEFERRED = (*CLASS_BALANCED.parameters, DRW_START)

METHODS = (
    Method(
        name="logit_adjusted",
        title="log class frequencies added to the logits in training (Menon et al. 2021)",
        losses=_softmax(make_of_counts("LogitAdjustedCrossentropy", tau=TAU)),
        parameters=(TAU,),
    ),
    Method(
        name="balanced_softmax",
        title="logit_adjusted with tau 1 (Ren et al. 2020)",
        losses=_softmax(make_of_counts("LogitAdjustedCrossentropy")),
        balances=True,
    ),
    Method(
        name="vs",
        title="logits scaled and adjusted by the class counts (Kini et al. 2021)",
        losses=_softmax(_VECTOR_SCALING),
        parameters=(VS_GAMMA, TAU),
    ),
    Method(
        name="vs_drw",
        title="vs, with class-balanced weights from --drw_start on",
        losses=_softmax(_deferred_loss(_VECTOR_SCALING)),
        parameters=(VS_GAMMA, TAU, *_DEFERRED),
        schedule=_deferred,
    ),
    Method(
        name="ldam",
        title="margins of the rare classes on a head of cosines (Cao et al. 2019)",
        losses=_softmax(_LDAM, "cosine", SCALE.value),
        parameters=(MAX_MARGIN, SCALE),
    ),
    Method(
        name="ldam_drw",
        title="ldam, with class-balanced weights from --drw_start on",
        losses=_softmax(_deferred_loss(_LDAM), "cosine", SCALE.value),
        parameters=(MAX_MARGIN, SCALE, *_DEFERRED),
        schedule=_deferred,
    ),
    Method(
        name="cb_drw",
        title="class-balanced weights from --drw_start on, equal ones before (Cao et al. 2019)",
        losses=CLASS_BALANCED.losses,
        parameters=_DEFERRED,
        schedule=_deferred,
    ),
)
