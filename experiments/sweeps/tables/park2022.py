"""What Park & Hwang 2022 compare, and the accuracies that they report on CIFAR-10."""

from experiments import methods
from experiments.methods.powers import POWERS
from experiments.runs import tails

LOSSES = ("softmax", "sigmoid", "focal")

# By (loss, imbalance factor, power), with beta 0.9999 and gamma 1.
_ACCURACIES = {
    **{("softmax", 1.0, 0.0): 0.8535, ("sigmoid", 1.0, 0.0): 0.9286, ("focal", 1.0, 0.0): 0.8581},
    **{
        (loss, 0.02, power): accuracy
        for loss, row in {
            "softmax": (0.7690, 0.7805, 0.7692, 0.6086),
            "sigmoid": (0.7724, 0.7854, 0.7782, 0.6402),
            "focal": (0.7727, 0.7901, 0.7737, 0.6595),
        }.items()
        for power, accuracy in zip(POWERS, row, strict=True)
    },
}


def published(settings):
    """The paper's accuracy for these settings, or None.

    Source: Park & Hwang 2022, tables 1 and 2.
    """
    s = settings
    comparable = (
        s["dataset"] == "cifar10"
        and methods.of(s).name == methods.DEFAULT
        and (s["loss"] != "focal" or s["gamma"] == 1.0)
        and (s["cb_power"] == 0 or s["cb_beta"] == 0.9999)
    )
    key = (s["loss"], tails.factor(s), s["cb_power"])
    return _ACCURACIES.get(key) if comparable else None
