"""How numbers are averaged over seeds, and how every program prints them."""

import dataclasses
import itertools
import math
import statistics

# Student's t that is exceeded to either side in 5% of cases, by degrees of freedom.
_STUDENT = {
    **{1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646, 8: 2.3060},
    **{10: 2.2281, 15: 2.1314, 30: 2.0423, math.inf: 1.9600},
}


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
    """Whether two means differ by no more than the spread over seeds explains.

    They differ by more where Welch's t-test tells them apart at 5%: by more than a multiple of the
    standard error of the difference, which is 12.7 for one degree of freedom, 4.3 for two seeds
    each of the same spread, 2.8 for three, and tends to 1.96.

    Args:
        a: `Statistic` with values.
        b: The same.

    Returns:
        True or False; None where the spread of one of them is not known.

    Source: Welch 1947.
    """
    if a.deviation is None or b.deviation is None:
        return None
    squares = [s.deviation**2 / len(s.values) for s in (a, b)]
    error = math.sqrt(sum(squares))
    if error == 0:
        return a.mean == b.mean
    parts = [
        (x / sum(squares)) ** 2 / (len(s.values) - 1) for x, s in zip(squares, (a, b), strict=True)
    ]
    return abs(a.mean - b.mean) <= _student(1 / sum(parts)) * error


def _student(degrees):
    """Student's t of any degrees of freedom >= 1, between those of the table by their inverses."""
    for (fewer, high), (more, low) in itertools.pairwise(_STUDENT.items()):
        if degrees <= more:
            share = (1 / degrees - 1 / more) / (1 / fewer - 1 / more)
            return low + min(1.0, share) * (high - low)
    raise AssertionError(degrees)


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
