"""What a row of the table of methods is, and what is wrong with the rows that it is given."""

import dataclasses

from absl import flags

from experiments import methods
from experiments.cli import UserError
from experiments.exports import posthoc_flags
from experiments.runs import naming, recipe, sampling
from experiments.sweeps.grid import unknown
from experiments.training import flags as train_flags

# Settings that make a method what it is: they are the table's, and no flag gives them.
OF_METHODS = frozenset({"sampler", *recipe.OFF, *methods.PARAMETERS})
_FIELDS = {"method": "method", "loss": "loss", "first_stage": "first"}  # of `Row`
_OF_ALL = ("seed", "dataset", "backbone_weights")  # what all rows share, besides what is unrecorded
_DONE = tuple(name for name in posthoc_flags.NAMES if name != "posthoc_saved_model")
_NUMBERS = ("posthoc_tau", "posthoc_temperature")


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        method: `--method`.
        loss: `--loss`.
        own: Its other settings.
        reported: What the field reports in % on CIFAR-10-LT, ratio 50, with ResNet-32 and 200
            epochs, often the best of the test epochs. The papers: see the methods' files.
        preset: Name of the preset that it takes settings of.
        first: Row whose run it begins with.
    """

    method: str = methods.DEFAULT
    loss: str = "softmax"
    own: dict = dataclasses.field(default_factory=dict)
    reported: str | None = None
    preset: str | None = None
    first: str | None = None

    @property
    def of_protocol(self):
        """Names of the settings of the protocol that it chooses, a tuple.

        All other rows have them as the flags give them; the name of its run tells them.
        """
        return tuple(name for name in self.own if name not in OF_METHODS)


@dataclasses.dataclass(frozen=True)
class After:
    """A row of figures of another row's networks, after something was done to them.

    Attributes:
        first: That row.
        posthoc: Flags of experiments.evaluate.
        reported: As of `Row`.
    """

    first: str
    posthoc: dict
    reported: str | None = None


def named(option, labels, known):
    """Those that an option of a table names, in the order of the table; all without it.

    Args:
        option: Name of the option.
        labels: What it was given, a list, or None.
        known: Dict of label to row.

    Raises:
        UserError: A label is unknown, or there is none.
    """
    if labels is None:
        return known
    there_are = f"there are {', '.join(known)}."
    for label in labels:
        if label not in known:
            raise UserError(f"--{option} has {label!r}, which is no row; {there_are}")
    if not labels:
        raise UserError(f"--{option} is empty; {there_are}")
    return {label: row for label, row in known.items() if label in labels}


def check(rows, presets):
    """Refuses rows that can't be made, before anything is trained.

    Args:
        rows: Dict of label to `Row` or `After`.
        presets: The presets that rows take settings of.

    Raises:
        ValueError: Lists what is wrong, with the labels of the rows.
    """
    problems, before = [], {}
    for label, row in rows.items():
        found = [*_of_first(row, before)]
        if isinstance(row, After):
            found += _of_posthoc(row.posthoc)
        else:
            found += [*_of_method(row), *_of_settings(row.own)]
            if row.preset not in (None, *presets):
                found.append(f"preset is {row.preset!r}; there are {', '.join(presets)}.")
        problems += [_named(label, words) for words in found]
        before[label] = row
    if problems:
        raise ValueError("\n  ".join(problems))


def check_model(label, row, settings):
    """Refuses what is done after a training that is not for its model.

    Args:
        label: Label of the row.
        row: `After`, checked.
        settings: Settings of the training.

    Raises:
        ValueError: Its head is another, its training dealt with the class frequencies, or nothing
            is held out by which a number can be chosen.
    """
    given = {**dict.fromkeys(posthoc_flags.NAMES), **row.posthoc}
    description = {"settings": settings, "sampler": settings.get("sampler", sampling.UNIFORM)}
    # The number of classes is that of the data.
    description["class_counts"] = given["posthoc_prior"] or ()
    try:
        posthoc_flags.check_model(description, given)
    except UserError as error:
        raise ValueError(_named(label, error)) from error
    searched = posthoc_flags.searched(given)
    if searched and not settings.get("validation_fraction"):
        words = (
            f"it chooses {' and '.join(searched)} on images that are held out of the training set: "
            "give --validation_fraction=0.1, or leave the row out with --rows."
        )
        raise ValueError(_named(label, words))


def _named(label, words):
    return f"ROWS of experiments/sweeps/tables/methods.py, {label!r}: {words}"


def _of_first(row, before):
    """What is wrong with the row that it begins with, which stands before it."""
    first = before.get(row.first)
    if row.first is not None and not isinstance(first, Row):
        what = "no row before it" if first is None else "no training"
        yield f"first is {row.first!r}, which is {what}."


def _of_method(row):
    if row.method not in methods.METHODS:
        yield f"method is {row.method!r}; there are {', '.join(methods.METHODS)}."
        return
    try:
        methods.METHODS[row.method].loss(row.loss)
    except ValueError as error:
        yield f"{error}"


def _of_settings(own):
    """What is wrong with the settings that a row chooses."""
    known = train_flags.protocol_defaults()
    for name, value in own.items():
        if name in _FIELDS:
            yield f"own has {name}; give it as Row({_FIELDS[name]}=...)."
        elif name in _OF_ALL or (name in flags.FLAGS and not train_flags.is_recorded(name)):
            yield f"own has {name}, which is the same for all rows; leave it out."
        elif name not in known:
            yield unknown(name, known)
        elif not _is_of(name, value):
            yield f"own has {name}={value!r}, which is no value of --{name}."


def _is_of(name, value):
    """Whether a value is one that the flag gives."""
    if value is None:
        return train_flags.default(name) is None
    try:
        return bool(flags.FLAGS[name].parser.parse(value) == value)
    except (TypeError, ValueError):
        return False


def _of_posthoc(posthoc):
    """What is wrong with what is done after a training."""
    for name in posthoc:
        if name == "posthoc_saved_model":
            yield f"{name} writes a file; leave it out."
        elif name not in _DONE:
            yield unknown(name, _DONE, "experiments.evaluate")
    if not {*posthoc} <= {*_DONE}:
        return
    lists = [name for name in ("posthoc", "posthoc_prior") if name in posthoc]
    if wrong := [name for name in lists if not isinstance(posthoc[name], list)]:
        yield f"{wrong[0]} is {posthoc[wrong[0]]!r}; give a list."
        return
    numbers = [(name, posthoc[name]) for name in _NUMBERS if posthoc.get(name) is not None]
    if bad := [
        name for name, x in numbers if isinstance(x, bool) or not isinstance(x, int | float)
    ]:
        yield f"{bad[0]} is {posthoc[bad[0]]!r}; give a number."
    elif posthoc.get("posthoc") in (None, [], [posthoc_flags.NONE]):
        yield f"nothing is done; give posthoc, such as [{posthoc_flags.ADJUSTMENT!r}]."
    else:
        words = [naming.exact(x) for x in posthoc.get("posthoc_prior") or ()] or None
        try:
            given = {**dict.fromkeys(posthoc_flags.NAMES), **posthoc, "posthoc_prior": words}
            posthoc_flags.check(given)
        except UserError as error:
            yield f"{error}"
