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


def seed(settings):
    """Seed of the choice of the images that are kept; that of the run where none is given."""
    own = settings.get("long_tail_seed")
    return settings["seed"] if own is None else own


def in_name(settings):
    """Its part of a run's name, such as "factor0.02", "factor0.02_tail1" or "natural"."""
    if is_natural(settings):
        return NATURAL
    own = settings.get("long_tail_seed")
    draw = "" if own is None else f"_tail{own}"
    return f"factor{short(settings['imbalance_factor'])}{draw}"


def in_words(settings):
    """How reports call it: "natural tail", "balanced" or "imbalance factor 0.02"."""
    if is_natural(settings):
        return "natural tail"
    given = settings["imbalance_factor"]
    return "balanced" if given == 1 else f"imbalance factor {given:g}"
