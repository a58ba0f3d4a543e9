"""The methods by name: adding one is a file here and its name in `_FILES`.

Names, flags, labels and heads are there without TensorFlow; a method imports the library when it
makes its loss.
"""

import importlib

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
    "settings_of",
]

# Each has `METHODS`, a tuple of `Method`: a family of methods is one file.
_FILES = (
    *("class_balanced", "softmax_focal", "logit_side", "power_ramp", "difficulty", "class_volume"),
    "two_stage",
)


def _methods():
    """Every method by name, in the order of the files."""
    found = {}
    for file in _FILES:
        for method in importlib.import_module(f"experiments.methods.{file}").METHODS:
            if found.setdefault(method.name, method) is not method:
                raise ValueError(f"two methods are called {method.name!r}.")
    return found


def _parameters():
    """Every parameter by name, each once: two methods may share one, but not differ in it."""
    found = {}
    for method in METHODS.values():
        for parameter in (*method.parameters, *(p for x in method.losses for p in x.parameters)):
            if found.setdefault(parameter.name, parameter) is not parameter:
                raise ValueError(f"two methods have different parameters {parameter.name!r}.")
    return found


METHODS = _methods()
LOSSES = tuple(dict.fromkeys(loss.name for method in METHODS.values() for loss in method.losses))
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
    """The `Method` of settings or of the flags of a run; one that recorded none has the default.

    Raises:
        ValueError: It is unknown.
    """
    return get(settings.get("method", DEFAULT))


def settings_of(settings):
    """Those of the settings that say which method and loss it is, as an export keeps them."""
    names = ("method", "loss", *PARAMETERS)
    return {name: settings[name] for name in names if name in settings}


def problems(settings):
    """What is wrong with the method, its loss and its parameters, a line each."""
    for parameter in PARAMETERS.values():
        try:
            parameter.check(parameter.value(settings))
        except ValueError as error:
            yield f"--{parameter.name}: {error}"
    try:
        method = of(settings)
        effective = method.parameters_of(settings)
    except ValueError as error:
        yield str(error)
        return
    if settings.get("fused_op") == "on" and not method.loss(settings["loss"]).fused_op:
        yield (
            f"--fused_op=on can't be used with {_given(method, settings)}, a loss that the native "
            "op does not have; leave it out."
        )
    for parameter in PARAMETERS.values():
        value = parameter.value(settings)
        if parameter not in effective and value != parameter.default:
            yield (
                f"--{parameter.name}={value} has no effect on {_given(method, settings)}; it "
                f"belongs to {_owners(parameter)}."
            )


def _given(method, settings):
    """The method and the loss as they were given; a line says nothing of the default method."""
    own = "" if method.name == DEFAULT else f"--method={method.name} with "
    return f"{own}--loss={settings['loss']}"


def _owners(parameter):
    """Where a parameter has an effect, in words."""
    owners = []
    for method in METHODS.values():
        if parameter in method.parameters:
            owners.append(f"--method={method.name}")
            continue
        own = "" if method.name == DEFAULT else f"--method={method.name} with --loss="
        owners += [own + loss.name for loss in method.losses if parameter in loss.parameters]
    return " and ".join(owners)
