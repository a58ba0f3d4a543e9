"""How far the reading of many files is: a line that is rewritten, or one now and then."""

import sys
import time

from experiments.runs import figures

_ON_A_TERMINAL, _ELSEWHERE = 0.5, 30.0  # seconds between two lines


class Progress:
    """Prints how many of many things are done, once it takes longer than a moment.

    Args:
        what: What is done, such as "folder:birds: decoding".
        number: How many there are.
    """

    def __init__(self, what, number):
        self.what, self.number = what, number
        self._start = self._last = time.monotonic()

    def reached(self, done):
        """Says that so many are done, where it is time to."""
        now = time.monotonic()
        terminal = sys.stdout.isatty()
        started = self._last > self._start
        last = done == self.number and started
        if not last and now - self._last < (_ON_A_TERMINAL if terminal else _ELSEWHERE):
            return
        self._last = now
        rate = done / max(now - self._start, 1e-9)
        line = f"{self.what} {done} of {self.number} images, {rate:.0f} images/s"
        if done < self.number:
            line += f", {figures.duration((self.number - done) / rate)} left"
        end = "\n" if last or not terminal else ""
        print(f"\r{line}\x1b[K{end}" if terminal else line, end="" if terminal else "\n")
        sys.stdout.flush()
