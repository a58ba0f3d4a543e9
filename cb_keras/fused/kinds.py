"""The losses that the op computes, by name, and what each of them takes."""

import dataclasses
from typing import Literal

Kind = Literal["softmax", "sigmoid", "focal"]


@dataclasses.dataclass(frozen=True)
class Traits:
    """What a loss of the op takes.

    Attributes:
        takes_gamma: A focusing parameter.
        takes_dense_labels: Multi-hot labels `[..., C]`, as well as class ids.
    """

    takes_gamma: bool
    takes_dense_labels: bool


# The names are those of ops/losses.h, in its order.
KINDS: dict[Kind, Traits] = {
    "softmax": Traits(takes_gamma=False, takes_dense_labels=False),
    "sigmoid": Traits(takes_gamma=False, takes_dense_labels=True),
    "focal": Traits(takes_gamma=True, takes_dense_labels=True),
}


def traits(kind: Kind) -> Traits:
    """What the loss of this name takes.

    Raises:
        ValueError: The op has no such loss; names those that it has.
    """
    if kind not in KINDS:
        names = ", ".join(map(repr, KINDS))
        raise ValueError(f"`loss` must be one of {names}, got {kind!r}.")
    return KINDS[kind]
