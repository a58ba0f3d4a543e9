"""The powers of the class-balanced term that the papers compare, and what they are called."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Power:
    """How a power is called.

    Attributes:
        name: As a table heads its column.
        words: As a sentence or a legend calls it.
    """

    name: str
    words: str


POWERS = {  # in the order of table 2 of Park & Hwang 2022
    0.0: Power("none", "plain"),
    1.0: Power("CB", "class-balanced"),
    0.5: Power("sqrt", "square root"),
    2.0: Power("squared", "squared"),
}
