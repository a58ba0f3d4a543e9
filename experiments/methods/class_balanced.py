"""Class-balanced softmax, sigmoid and focal losses under a power: Cui et al., Park & Hwang."""

from experiments.methods.method import DEFAULT, Loss, Method, Parameter


def _check_beta(value):
    from cb_keras import checks

    checks.check_beta(value)


def _check_power(value):
    from cb_keras import checks

    checks.check_power(value)


def _check_gamma(value):
    from cb_keras import checks

    checks.check_gamma(value)


CB_POWER = Parameter(
    name="cb_power",
    default=1.0,
    help="Power of the class-balanced term, any finite number: 0 plain loss, 0.5 square root, "
    "1 class-balanced, 2 squared.",
    check=_check_power,
    in_name="power",
)
CB_BETA = Parameter(
    name="cb_beta",
    default=0.9999,
    help="Beta of the effective number, in [0, 1].",
    check=_check_beta,
    in_name="beta",
)
GAMMA = Parameter(
    name="gamma",
    default=1.0,
    help="Focusing parameter of the focal loss, >= 0.",
    check=_check_gamma,
    in_name="gamma",
)


def _make(name, *parameters):
    """Function that makes the class `name` of `cb_keras.losses`."""

    def make(settings, fused, **weights):
        from cb_keras import losses

        own = {parameter.name: settings[parameter.name] for parameter in parameters}
        if "class_counts" in weights:  # weights that are given have neither
            own |= {"beta": settings["cb_beta"], "power": settings["cb_power"]}
        return getattr(losses, name)(**weights, **own, fused=fused)

    return make


METHOD = Method(
    name=DEFAULT,
    title="weights from the effective number of samples, under a power (Cui et al. 2019)",
    losses=(
        Loss("softmax", "softmax", _make("ClassBalancedSoftmaxCrossentropy")),
        Loss("sigmoid", "sigmoid", _make("ClassBalancedSigmoidCrossentropy")),
        Loss("focal", "sigmoid", _make("ClassBalancedFocalCrossentropy", GAMMA), (GAMMA,)),
    ),
    parameters=(CB_POWER, CB_BETA),
)
