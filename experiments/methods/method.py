"""What a method is: a value that flags, run names, training, exports and tables ask."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

DEFAULT = "class_balanced"  # also of runs that were recorded before there was a choice
HEADS = ("softmax", "sigmoid", "cosine")
# Of a second stage: a head that has learnt nothing, or that of the first with scales to learn.
NEW_HEAD, SCALED_HEAD = "new", "scaled"


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A number, or one of some words, that a method or one of its losses has: a flag of training.

    Attributes:
        name: Name of the flag and of the setting.
        default: A float, or one of the words; where the setting differs from it and has no effect,
            it is refused.
        help: What `--help` says, with the range.
        check: Function of the value that raises ValueError where it is out of range. It imports
            what it needs itself: flags, names and labels are there without the library.
        in_name: What run names call it, such as "power" in "power0.5".
        balances: Whether all its values but 0 are an answer to the class frequencies.
        choices: Tuple of the words; None of a number.
        always_named: Whether run names and labels tell its default too, and every record has it:
            of a number that is as old as its method. One that is added to a method later is told
            where it is not the default, so that runs at the default keep their names, and a record
            without it has the default.
    """

    name: str
    default: float | str
    help: str
    check: Callable[[Any], Any]
    in_name: str
    balances: bool = False
    choices: tuple[str, ...] | None = None
    always_named: bool = False

    def __post_init__(self):
        if self.always_named and self.choices:
            raise ValueError(f"{self.name!r} has words, whose default no name tells.")

    def define_flag(self):
        """Defines the flag."""
        from absl import flags

        if self.choices is None:
            flags.DEFINE_float(self.name, self.default, self.help)
        else:
            flags.DEFINE_enum(self.name, self.default, list(self.choices), self.help)

    def value(self, settings):
        """Its value; a run that was recorded before there was this parameter has the default."""
        return settings.get(self.name, self.default)

    def text(self, settings):
        """Its part of a run's name, such as "power0.5"; none of a default that names leave out."""
        value = self.value(settings)
        if value == self.default and not self.always_named:
            return ""
        return f"{self.in_name}={value}" if self.choices else self.in_name + short(value)


@dataclasses.dataclass(frozen=True)
class Loss:
    """A value of `--loss` under a method.

    Attributes:
        name: The value.
        head: How the network's last bias starts and whether it is penalised, "softmax" or
            "sigmoid", or "cosine" for cosines without a bias; also which function makes
            probabilities of the logits.
        make: Function of `(settings, fused=..., class_counts=..., class_weights=...)` that returns
            the `keras.losses.Loss`; weights that are given win over those of the counts, and one
            of the two may be missing where the loss can do without. It imports the library itself.
        parameters: Tuple of `Parameter` that have a meaning for this loss alone.
        fused_op: Whether the native op has this loss; without it keras.ops compute it.
        logit_scale: Function of the settings, the factor of the logits in the probabilities; None
            for 1.
    """

    name: str
    head: str
    make: Callable[..., Any]
    parameters: tuple[Parameter, ...] = ()
    fused_op: bool = False
    logit_scale: Callable[[Any], float] | None = None

    def __post_init__(self):
        if self.head not in HEADS:
            raise ValueError(f"`head` must be one of {', '.join(HEADS)}, got {self.head!r}.")

    @property
    def mixes(self):
        """Whether its loss of mixed labels `[N, C]`, as of mixup, is the mix of their losses.

        A softmax is linear in the labels. One yes or no a class has one weight for the example,
        and a focal factor that is not linear.
        """
        return self.head != "sigmoid"


@dataclasses.dataclass(frozen=True)
class Method:
    """A value of `--method`.

    Attributes:
        name: The value of `--method`.
        title: What it is, in a few words, for `--help`.
        losses: Tuple of `Loss`, the values of `--loss` that it accepts, in the order of tables.
        parameters: Tuple of `Parameter` that it has with each of them.
        schedule: Function of `(settings, class_counts)` that returns the class weights by epoch, a
            function of `cb_keras.weight_schedules`; None where they stay as they are.
        callback: Function of `(settings, class_counts)` that returns a callback that sets the class
            weights by what the training finds; its `state()` goes into the checkpoints, and
            `restore(state)` takes it from them. None where they do not depend on it.
        weigh: Function of `(settings, images, class_counts)`, the images a `datasets.Split`, that
            returns what `config.json` records of them: a dict with the `class_weights` `[C]` and
            what they follow from. None where the class counts are enough.
        balances: Whether it is an answer to the class frequencies whatever its parameters are.
        second_stage: `NEW_HEAD` or `SCALED_HEAD` of a method that trains the head alone, on the
            trunk of a finished run; None of one that trains a network from its beginning.
    """

    name: str
    title: str
    losses: tuple[Loss, ...]
    parameters: tuple[Parameter, ...] = ()
    schedule: Callable[[Any, Any], Callable[[int], Any]] | None = None
    callback: Callable[[Any, Any], Any] | None = None
    weigh: Callable[[Any, Any, Any], dict[str, Any]] | None = None
    balances: bool = False
    second_stage: str | None = None

    def loss(self, name):
        """The `Loss` of a value of `--loss`.

        Raises:
            ValueError: It is not one of the method's; names those.
        """
        for loss in self.losses:
            if loss.name == name:
                return loss
        known = ", ".join(loss.name for loss in self.losses)
        raise ValueError(
            f"--loss={name} does not go with --method={self.name}, which accepts {known}."
        )

    def parameters_of(self, settings):
        """Tuple of the `Parameter` that have an effect with these settings."""
        return (*self.parameters, *self.loss(settings["loss"]).parameters)

    def make_loss(self, settings, *, fused=False, class_counts=None, class_weights=None):
        """The loss that a run trains with, or is measured by.

        Args:
            settings: Mapping with `loss` and the parameters.
            fused: As in `cb_keras.losses`; False computes the same on every machine.
            class_counts: Training examples per class `[C]`.
            class_weights: `[C]`, as a run recorded them, in place of those that the counts make.
        """
        given = {"class_counts": class_counts, "class_weights": class_weights}
        given = {name: value for name, value in given.items() if value is not None}
        return self.loss(settings["loss"]).make(settings, fused=fused, **given)

    def head(self, settings):
        """The network's head, `"softmax"`, `"sigmoid"` or `"cosine"`."""
        return self.loss(settings["loss"]).head

    def probabilities(self, settings, logits):
        """Probabilities of logits `[N, C]`, as an export gives them."""
        from keras import ops

        logits = self.scaled(settings, logits)
        return ops.sigmoid(logits) if self.head(settings) == "sigmoid" else ops.softmax(logits)

    def scaled(self, settings, logits):
        """Logits, as the softmax of the probabilities takes them: cosines times a scale."""
        scale = self.loss(settings["loss"]).logit_scale
        return logits if scale is None else scale(settings) * logits

    def balanced_by(self, settings):
        """By which of its flags it answers to the class frequencies, in words; "" where by none."""
        own = [p for p in self.parameters_of(settings) if p.balances and p.value(settings) != 0]
        words = " and ".join(f"--{p.name}={short(p.value(settings))}" for p in own)
        if self.name == DEFAULT or not (words or self.balances):
            return words
        return f"--method={self.name}" + (f" with {words}" if words else "")

    def in_name(self, settings):
        """Its part of a run's name, such as "focal1_power0.5_beta0.9999".

        The parameters of a loss that all its names tell stand next to it without a name, one after
        the other.
        """
        loss = self.loss(settings["loss"])
        own = "".join(short(p.value(settings)) for p in loss.parameters if p.always_named)
        method = [] if self.name == DEFAULT else [self.name]
        later = [parameter for parameter in loss.parameters if not parameter.always_named]
        shared = [parameter.text(settings) for parameter in (*later, *self.parameters)]
        return "_".join(part for part in (*method, loss.name + own, *shared) if part)

    def label(self, settings):
        """How reports call the method with this loss, such as "focal, gamma 1".

        Without the parameters of the method, such as the power, which reports show on their own.
        """
        loss = self.loss(settings["loss"])
        told = [p for p in loss.parameters if p.always_named or p.value(settings) != p.default]
        own = [f"{p.in_name} {_shown(p.value(settings))}" for p in told]
        method = [] if self.name == DEFAULT else [self.name]
        return ", ".join([*method, loss.name, *own])


def _shown(value):
    return value if isinstance(value, str) else f"{value:g}"


def short(number):
    """As few digits as tell a number from every other, for a run's name."""
    text = f"{number:g}"
    return text if float(text) == number or math.isnan(number) else str(number)
