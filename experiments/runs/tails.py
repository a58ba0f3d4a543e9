"""What the settings say about the long tail: a natural tail does not have a factor."""

from experiments.methods.method import short

NATURAL, EXPONENTIAL = "natural", "exponential"
KINDS = (EXPONENTIAL, NATURAL)  # the values of --long_tail


def is_natural(settings):
    """Whether the training set is used as it is; settings without a tail are of an older run."""
    return settings.get("long_tail") == NATURAL


def is_balanced(settings):
    """Whether the training set was cut to classes of one size."""
    return not is_natural(settings) and settings["imbalance_factor"] == 1


def factor(settings):
    """Smallest / largest class size that the training set was cut to; None of a natural tail."""
    return None if is_natural(settings) else settings.get("imbalance_factor")


def in_name(settings):
    """Its part of a run's name, such as "factor0.02" or "natural"."""
    return NATURAL if is_natural(settings) else f"factor{short(settings['imbalance_factor'])}"


def in_words(settings):
    """How reports call it: "natural tail", "balanced" or "imbalance factor 0.02"."""
    if is_natural(settings):
        return "natural tail"
    given = settings["imbalance_factor"]
    return "balanced" if given == 1 else f"imbalance factor {given:g}"
