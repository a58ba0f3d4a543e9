"""What a family of networks is: a value that settings, names and the training ask."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Family:
    """Networks that `--backbone` names, made by one function.

    Attributes:
        names: How `--backbone` names them, in words.
        has: Function of a name that says whether it is one of the family's.
        usual: Function without arguments that returns names, for one who has mistyped.
        settled: Function of the settings that returns those of them which it puts otherwise, such
            as `{"backbone": "resnet", "depth": 8}`; None where the backbone is not of the family.
        problems: Function of the settings that returns what is wrong with them, a line each,
            before any data are there.
        check_images: Function of `(name, shape)` that raises `UserError` where the network does
            not take images of that shape, (height, width, channels).
        make: Function of `(settings, input_shape, num_classes, head)` that returns the network,
            raw pixels `[N, H, W, channels]` to logits: its last layer gives the logits, all others
            are its trunk.
    """

    names: str
    has: Callable[[str], bool]
    usual: Callable[[], Iterable[str]]
    settled: Callable[[dict], dict | None]
    problems: Callable[[dict], Iterable[str]]
    check_images: Callable[[str, tuple], None]
    make: Callable[..., Any]
