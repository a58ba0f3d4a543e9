"""The size that images are resized to, as a flag has it."""

import re

_LARGEST = 8192


def parsed(text):
    """`(height, width)` of "224" or "240x320"; None of None.

    Raises:
        ValueError: It is neither, or out of range.
    """
    if text is None:
        return None
    sides = [int(side) for side in re.findall(r"\d{1,9}", text)]
    if not re.fullmatch(r"\d{1,9}(x\d{1,9})?", text) or not all(
        1 <= side <= _LARGEST for side in sides
    ):
        raise ValueError(
            f"it must be one side or HEIGHTxWIDTH, of 1 to {_LARGEST} pixels, such as 224 or "
            f"240x320; got {text}."
        )
    return sides[0], sides[-1]


def in_words(size):
    """A size as the flag has it: "240x320"."""
    return "x".join(map(str, size))
