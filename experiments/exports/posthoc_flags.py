"""The flags that say what `experiments.evaluate` does to a trained model before it measures it.

`tau` and the temperature are chosen on training images that the run held out, or given. The test
images choose nothing.
"""

import math

from absl import flags

from experiments import cli, methods
from experiments.runs import afterwards, sampling

NONE, ADJUSTMENT, PRIOR = "none", "logit_adjustment", "prior_shift"
TAU_NORM, TEMPERATURE = "tau_norm", "temperature"
NAMES = ("posthoc", "posthoc_tau", "posthoc_temperature", "posthoc_prior", "posthoc_saved_model")
# Which heads a step is for: its formula is of the softmax, or of the class with the largest logit.
_HEADS = {
    ADJUSTMENT: ("softmax",),
    PRIOR: ("softmax",),
    TAU_NORM: ("softmax", "sigmoid"),
    TEMPERATURE: ("softmax", "cosine"),
}
_NEEDED_BY = {
    "posthoc_tau": (ADJUSTMENT, TAU_NORM),
    "posthoc_temperature": (TEMPERATURE,),
    "posthoc_prior": (PRIOR,),
    "posthoc_saved_model": tuple(_HEADS),
}


def define():
    """Defines the flags."""
    flags.DEFINE_list(
        "posthoc",
        [NONE],
        f"What is done to the model first: {ADJUSTMENT}, {PRIOR} or {TAU_NORM}, and {TEMPERATURE} "
        f"alone or after one of them, such as {ADJUSTMENT},{TEMPERATURE}. It takes model.keras of "
        "a run.",
    )
    flags.DEFINE_float(
        "posthoc_tau",
        None,
        f"Factor >= 0 of the log class frequencies that {ADJUSTMENT} takes off, or power of the "
        f"norms that {TAU_NORM} divides by. Default: the best, by the balanced accuracy of the "
        "training images that the run held out with --validation_fraction.",
    )
    flags.DEFINE_float(
        "posthoc_temperature",
        None,
        "What the logits are divided by, > 0. Default: the best, by the class-balanced likelihood "
        "of the images held out.",
    )
    flags.DEFINE_list(
        "posthoc_prior",
        None,
        f"Class frequencies of {PRIOR}, those of where the model is used: a number > 0 for each "
        "class in their order, of any sum.",
    )
    flags.DEFINE_string(
        "posthoc_saved_model", None, "Folder for a SavedModel of the model as it is then."
    )


def steps(given):
    """What is to be done, in its order; nothing for `--posthoc=none`."""
    return [step for step in given["posthoc"] if step != NONE]


def searched(given):
    """What is to be chosen on held-out images, of "tau" and "temperature"."""
    wanted = {"tau": "posthoc_tau", "temperature": "posthoc_temperature"}
    asked = {*steps(given)}
    return [n for n, flag in wanted.items() if given[flag] is None and asked & {*_NEEDED_BY[flag]}]


def check(given):
    """Checks the flags by themselves, before anything is loaded.

    Args:
        given: Mapping of `NAMES` to the values of the flags.

    Raises:
        UserError: Lists every flag that is wrong or has no effect.
    """
    if given["posthoc"] == [NONE] and all(given[name] is None for name in NAMES[1:]):
        return  # before anything heavy is imported
    import keras

    problems = [*_of_steps(given["posthoc"]), *_of_values(given)]
    target = given["posthoc_saved_model"]
    if target is not None:
        if keras.config.backend() != "tensorflow":
            problems.append(
                f"--posthoc_saved_model is written by TensorFlow, and KERAS_BACKEND is "
                f"{keras.config.backend()}: leave it out, or set KERAS_BACKEND=tensorflow."
            )
        if cli.local_path("--posthoc_saved_model", target).exists():
            problems.append(
                f"--posthoc_saved_model={target} is there already; name a folder that is not."
            )
    if problems:
        raise cli.UserError("\n  ".join(problems))


def _of_steps(named):
    """What is wrong with the value of `--posthoc`."""
    unknown = [step for step in named if step not in (NONE, *_HEADS)]
    for step in unknown:
        yield f"--posthoc={step} is unknown; there are {', '.join((NONE, *_HEADS))}."
    places = [step == TEMPERATURE for step in named]
    alone = NONE not in named or len(named) == 1
    if not unknown and not (named and alone and places == sorted({*places})):
        yield (
            f"--posthoc={','.join(named)}: give one of {ADJUSTMENT}, {PRIOR} and {TAU_NORM}, and "
            f"{TEMPERATURE} alone or after it."
        )


def _of_values(given):
    """What is wrong with the numbers, or has no effect."""
    from cb_keras import checks

    for name, owners in _NEEDED_BY.items():
        if given[name] is not None and not {*owners} & {*steps(given)}:
            yield f"--{name} has no effect without --posthoc={' or '.join(owners)}."
    try:
        if given["posthoc_tau"] is not None:
            checks.check_tau(given["posthoc_tau"])
        if given["posthoc_temperature"] is not None:
            checks.check_positive("temperature", given["posthoc_temperature"])
    except ValueError as error:
        yield f"--posthoc={','.join(given['posthoc'])}: {error}"
    words = given["posthoc_prior"]
    if words is None and PRIOR in given["posthoc"]:
        yield (
            f"--posthoc={PRIOR} takes --posthoc_prior, the class frequencies where the model is "
            f"used; to balanced classes it is --posthoc={ADJUSTMENT} --posthoc_tau=1."
        )
    if words is not None and not all(_is_frequency(word) for word in words):
        yield f"--posthoc_prior must be numbers > 0 such as 0.7,0.2,0.1; got {','.join(words)}."


def _is_frequency(word):
    try:
        return 0 < float(word) < math.inf
    except ValueError:
        return False


def check_model(description, given):
    """Refuses a model that the steps are not for.

    Args:
        description: Of `keras_file.description`.
        given: As for `check`.

    Raises:
        UserError: Its head is another, or its training dealt with the class frequencies.
    """
    settings, asked = description["settings"], steps(given)
    method, loss = methods.of(settings), settings["loss"]
    for step in asked:
        if method.head(settings) not in _HEADS[step]:
            raise cli.UserError(
                f"--posthoc={step} is for a {' or '.join(_HEADS[step])} head, and that of this run "
                f"(--method={method.name}, --loss={loss}) is {method.head(settings)}."
            )
    answers = [words for words in (method.balanced_by(settings),) if words]
    if description.get("sampler", sampling.UNIFORM) != sampling.UNIFORM:
        answers.append(f"--sampler={description['sampler']}")
    if answers and asked != [TEMPERATURE]:
        raise cli.UserError(
            f"--posthoc={asked[0]} is for a model that has learnt the class frequencies, and this "
            f"run dealt with them, by {' and '.join(answers)}: give one of the plain loss "
            "(--cb_power=0) and the uniform sampler."
        )
    number, classes = len(given["posthoc_prior"] or ()), len(description["class_counts"])
    if PRIOR in asked and number != classes:
        raise cli.UserError(
            f"--posthoc_prior has {number} numbers and the model {classes} classes: give one for "
            "each."
        )


def lines(about, validation=None):
    """What was done, as lines of text.

    Args:
        about: The `posthoc` of metrics.
        validation: Their `validation`, where the run held images out.
    """
    for name in afterwards.NUMBERS:
        if name in about:
            how = "given"
            if figure := about.get("chosen_by", {}).get(name):
                on = about["chosen_on"]
                how = (
                    f"chosen by the {figure.replace('_', ' ')} of {on['images']} training images "
                    f"that the run held out ({on['fewest_of_a_class']} of the rarest there)"
                )
            if name in about.get(afterwards.END_OF_RANGE, ()):
                how += "; the search reached the end of its range, a better one may lie beyond it"
            yield f"{','.join(about['steps'])}: {name} {about[name]:.4g}, {how}"
    if "prior" in about:
        yield f"{','.join(about['steps'])}: to the class frequencies {about['prior']}"
    if validation is not None:
        accuracy = validation["balanced_accuracy"]
        yield f"balanced accuracy of the training images that the run held out: {accuracy:.4f}"
