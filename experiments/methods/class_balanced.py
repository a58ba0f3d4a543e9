"""Class-balanced softmax, sigmoid and focal losses under a power: Cui et al., Park & Hwang."""

from experiments.methods.method import DEFAULT, Loss, Method, Parameter


def checked_by(name, *arguments):
    """Function of a value that calls the checker `name` of `cb_keras.checks`, after arguments."""

    def check(value):
        from cb_keras import checks

        getattr(checks, name)(*arguments, value)

    return check


def one_of(name, choices):
    """Function of a value that raises ValueError unless it is one of the words."""

    def check(value):
        from cb_keras.checks import check_choice

        check_choice(name, value, choices)

    return check


CB_POWER = Parameter(
    name="cb_power",
    default=1.0,
    help="Power of the class-balanced term, any finite number: 0 plain loss, 0.5 square root, "
    "1 class-balanced, 2 squared.",
    check=checked_by("check_power"),
    in_name="power",
    balances=True,
    always_named=True,
)
CB_BETA = Parameter(
    name="cb_beta",
    default=0.9999,
    help="Beta of the effective number, in [0, 1].",
    check=checked_by("check_beta"),
    in_name="beta",
    always_named=True,
)
_NORMALIZED = ("classes", "examples")
CB_NORMALIZE = Parameter(
    name="cb_normalize",
    default="classes",
    help="How the class weights are scaled: classes, to the sum C as Cui et al.; examples, to the "
    "mean 1 over the training images, so that the power does not change the size of a step.",
    check=one_of("normalize", _NORMALIZED),
    in_name="normalize",
    choices=_NORMALIZED,
)
GAMMA = Parameter(
    name="gamma",
    default=1.0,
    help="Focusing parameter of the focal losses, >= 0.",
    check=checked_by("check_gamma"),
    in_name="gamma",
    always_named=True,
)


def make_class_balanced(name, *parameters):
    """Function that makes the class `name` of `cb_keras.losses`."""

    def make(settings, fused, class_counts=None, class_weights=None):
        from cb_keras import losses

        own = {parameter.name: parameter.value(settings) for parameter in parameters}
        if class_weights is None:
            own |= {"beta": CB_BETA.value(settings), "power": CB_POWER.value(settings)}
            own |= {"normalize": CB_NORMALIZE.value(settings), "class_counts": class_counts}
        return getattr(losses, name)(class_weights=class_weights, **own, fused=fused)

    return make


CLASS_BALANCED = Method(
    name=DEFAULT,
    title="weights from the effective number of samples, under a power (Cui et al. 2019)",
    losses=(
        Loss(
            "softmax",
            "softmax",
            make_class_balanced("ClassBalancedSoftmaxCrossentropy"),
            fused_op=True,
        ),
        Loss(
            "sigmoid",
            "sigmoid",
            make_class_balanced("ClassBalancedSigmoidCrossentropy"),
            fused_op=True,
        ),
        Loss(
            name="focal",
            head="sigmoid",
            make=make_class_balanced("ClassBalancedFocalCrossentropy", GAMMA),
            parameters=(GAMMA,),
            fused_op=True,
        ),
    ),
    parameters=(CB_POWER, CB_BETA, CB_NORMALIZE),
)
METHODS = (CLASS_BALANCED,)
