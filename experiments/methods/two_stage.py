"""Second stages: another head on the frozen trunk of a finished run."""

from experiments.methods.class_balanced import checked_by
from experiments.methods.logit_side import make_of_counts
from experiments.methods.method import NEW_HEAD, SCALED_HEAD, Loss, Method, Parameter

SMOOTH_HEAD = Parameter(
    name="smooth_head",
    default=0.3,
    help="Share of the largest class's labels that is spread over all classes, in [0, 1].",
    check=checked_by("check_share", "smooth_head"),
    in_name="head",
    always_named=True,
)
SMOOTH_TAIL = Parameter(
    name="smooth_tail",
    default=0.0,
    help="Share of the smallest class's labels that is spread over all classes, in [0, 1].",
    check=checked_by("check_share", "smooth_tail"),
    in_name="tail",
    always_named=True,
)


def _plain(settings, fused, class_counts=None, class_weights=None):
    """Cross-entropy: the sampler balances."""
    from cb_keras import losses

    del settings
    if class_weights is None:
        class_weights = [1.0] * len(class_counts)
    return losses.ClassBalancedSoftmaxCrossentropy(class_weights=class_weights, fused=fused)


_SMOOTHED = make_of_counts("LabelAwareSmoothingCrossentropy", head=SMOOTH_HEAD, tail=SMOOTH_TAIL)

METHODS = (
    Method(
        name="crt",
        title="a new head on the frozen trunk of --first_stage (Kang et al. 2020)",
        losses=(Loss("softmax", "softmax", _plain, fused_op=True),),
        second_stage=NEW_HEAD,
    ),
    Method(
        name="mislas",
        title="the head of --first_stage with learnt scales, and label-aware smoothing, on its "
        "frozen trunk (Zhong et al. 2021)",
        losses=(Loss("softmax", "softmax", _SMOOTHED),),
        parameters=(SMOOTH_HEAD, SMOOTH_TAIL),
        second_stage=SCALED_HEAD,
    ),
)
