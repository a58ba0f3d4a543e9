"""Class-balanced softmax focal loss: one softmax head, whose easy examples count less."""

from experiments.methods.class_balanced import CLASS_BALANCED, GAMMA, make_class_balanced
from experiments.methods.method import Loss, Method

METHODS = (
    Method(
        name="softmax_focal",
        title="class-balanced weights with the focal factor of the softmax (Lin et al. 2017)",
        losses=(
            Loss(
                name="softmax",
                head="softmax",
                make=make_class_balanced("ClassBalancedSoftmaxFocalCrossentropy", GAMMA),
                parameters=(GAMMA,),
                fused_op=True,
            ),
        ),
        parameters=CLASS_BALANCED.parameters,
    ),
)
