"""The losses that the op computes, by name, and what each of them takes."""

import dataclasses
from typing import Any, Literal, NamedTuple

Kind = Literal["softmax", "sigmoid", "focal", "softmax_focal"]


@dataclasses.dataclass(frozen=True)
class Traits:
    """What a loss of the op takes.

    Attributes:
        takes_gamma: A focusing parameter.
        takes_label_smoothing: A share of the loss that all classes have.
        mixes_classes: Dense labels mix the weighted losses of the classes; else they have the
            mean weight of theirs.
    """

    takes_gamma: bool
    takes_label_smoothing: bool
    mixes_classes: bool


# The names are those of ops/losses.h, in its order.
KINDS: dict[Kind, Traits] = {
    "softmax": Traits(takes_gamma=False, takes_label_smoothing=True, mixes_classes=True),
    "sigmoid": Traits(takes_gamma=False, takes_label_smoothing=False, mixes_classes=False),
    "focal": Traits(takes_gamma=True, takes_label_smoothing=False, mixes_classes=False),
    "softmax_focal": Traits(takes_gamma=True, takes_label_smoothing=False, mixes_classes=True),
}


# What may follow the class weights, which are `[1 + n, C]` then, and its bit in `Form.adjusts`;
# CbkAdjustment in ops/class_balanced_loss.h.
ADJUSTMENTS: dict[str, int] = {"factor": 1, "offset": 2, "margin": 4}


class Form(NamedTuple):
    """A loss of the op with what is fixed when it is traced.

    Attributes:
        kind: Its name.
        label_smoothing: In [0, 1]; 0 where the loss takes none.
        ignore_class: Class id of examples that do not count, or None.
        adjusts: Bits of `ADJUSTMENTS`, of the softmax losses; margins of class ids only.
    """

    kind: Kind
    label_smoothing: float = 0.0
    ignore_class: int | None = None
    adjusts: int = 0

    @property
    def attributes(self) -> dict[str, Any]:
        """What the ops call these."""
        return {
            "loss": self.kind,
            "label_smoothing": self.label_smoothing,
            "ignores": self.ignore_class is not None,
            "ignore_class": self.ignore_class or 0,
            "adjusts": self.adjusts,
        }

    @classmethod
    def of(cls, op: Any) -> "Form":
        """That of one of TensorFlow's ops."""
        ignore_class = op.get_attr("ignore_class") if op.get_attr("ignores") else None
        names = "label_smoothing", "adjusts"
        label_smoothing, adjusts = map(op.get_attr, names)
        return cls(op.get_attr("loss").decode(), label_smoothing, ignore_class, adjusts)


def traits(kind: Kind) -> Traits:
    """What the loss of this name takes.

    Raises:
        ValueError: The op has no such loss; names those that it has.
    """
    if kind not in KINDS:
        names = ", ".join(map(repr, KINDS))
        raise ValueError(f"`loss` must be one of {names}, got {kind!r}.")
    return KINDS[kind]


def averages(reduction: str | None) -> bool:
    """Whether a reduction of Keras is a mean, whose gradient by each loss is known before."""
    return reduction not in ("sum", "none", None)
