"""The methods by name: adding one is a file here and a line in `METHODS`.

Names, flags, labels and heads are there without TensorFlow; a method imports the library when it
makes its loss.
"""

from experiments.methods import class_balanced
from experiments.methods.method import DEFAULT, Loss, Method, Parameter

__all__ = [
    "DEFAULT",
    "LOSSES",
    "METHODS",
    "PARAMETERS",
    "Loss",
    "Method",
    "Parameter",
    "get",
    "of",
    "problems",
]

METHODS = {method.name: method for method in (class_balanced.METHOD,)}
LOSSES = tuple(dict.fromkeys(loss.name for method in METHODS.values() for loss in method.losses))


def _parameters():
    """Every parameter by name, each once: two methods may share one, but not differ in it."""
    found = {}
    for method in METHODS.values():
        for parameter in (*method.parameters, *(p for x in method.losses for p in x.parameters)):
            if found.setdefault(parameter.name, parameter) is not parameter:
                raise ValueError(f"two methods have different parameters {parameter.name!r}.")
    return found


PARAMETERS = _parameters()


def get(name):
    """The `Method` of a name.

    Raises:
        ValueError: It is unknown; names the known ones.
    """
    if name not in METHODS:
        raise ValueError(f"--method={name} is unknown; there are {', '.join(METHODS)}.")
    return METHODS[name]


def of(settings):
    """The `Method` of settings or of the flags of a run; one that recorded none is of the first.

    Raises:
        ValueError: It is unknown.
    """
    return get(settings.get("method", DEFAULT))


def problems(settings):
    """What is wrong with the method, its loss and its parameters, a line each."""
    try:
        method = of(settings)
        method.loss(settings["loss"])
    except ValueError as error:
        yield str(error)
        return
    for parameter in PARAMETERS.values():
        try:
            parameter.check(settings[parameter.name])
        except ValueError as error:
            yield f"--{parameter.name}: {error}"
    effective = method.parameters_of(settings)
    for parameter in PARAMETERS.values():
        value = settings[parameter.name]
        if parameter not in effective and value != parameter.default:
            yield (
                f"--{parameter.name}={value} has no effect on {_given(method, settings)}; it "
                f"belongs to {_owners(parameter)}."
            )


def _given(method, settings):
    own = "" if method.name == DEFAULT else f"--method={method.name} with "
    return f"{own}--loss={settings['loss']}"


def _owners(parameter):
    """Where a parameter has an effect, in words."""
    losses, named = [], []
    for method in METHODS.values():
        if parameter in method.parameters:
            named.append(f"--method={method.name}")
        losses += [loss.name for loss in method.losses if parameter in loss.parameters]
    return " and ".join([*dict.fromkeys(losses), *named])
