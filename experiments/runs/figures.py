"""How numbers are averaged over seeds, and how every program prints them."""

import dataclasses
import math
import statistics


@dataclasses.dataclass(frozen=True)
class Statistic:
    """Mean and sample standard deviation of one figure over seeds; None where unknown.

    Attributes:
        values: Tuple of floats, one a seed.
    """

    values: tuple = ()

    @classmethod
    def of(cls, values):
        """Of an iterable of floats, without those that are None."""
        return cls(tuple(value for value in values if value is not None))

    @property
    def mean(self):
        """Mean, or None without values."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def deviation(self):
        """Sample standard deviation, or None with fewer than two values."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def __str__(self):
        text = accuracy(self.mean)
        return text if self.deviation is None else f"{text} ± {accuracy(self.deviation)}"


def within_spread(a, b):
    """Whether two means differ by no more than the spread of their difference.

    That is the root of the sum of the squared standard deviations over seeds.

    Args:
        a: `Statistic` with values.
        b: The same.

    Returns:
        True or False; None where the spread of one of them is not known.
    """
    if a.deviation is None or b.deviation is None:
        return None
    return abs(a.mean - b.mean) <= math.hypot(a.deviation, b.deviation)


def accuracy(value):
    """Four decimals without the leading zero, as the papers print accuracies; "-" for None."""
    if value is None:
        return "-"
    text = f"{value:.4f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 and not text.startswith("1") else text


def duration(seconds):
    """Such as "12 s", "5 min" or "1 h 05 min"."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def setting(value):
    """The value of a flag, for people to read: "0.8, 0.9" of a list, "not recorded" for None."""
    if value is None:
        return "not recorded"
    if isinstance(value, list | tuple):
        return ", ".join(map(setting, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def counted(number, word):
    """A number and what it is of: "1 epoch", "2 epochs"."""
    return f"{number} {word}{'s' if number != 1 else ''}"
