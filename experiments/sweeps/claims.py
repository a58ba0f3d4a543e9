"""What the accuracies of a table say, in words: the order of its rows or columns, and the best."""

import itertools

from experiments.exports.bootstrap import FEWEST
from experiments.runs.figures import accuracy, counted, within_spread
from experiments.sweeps.cells import VALIDATION


def seeds_in_words(seeds):
    """Such as "seed 0" or "seeds 0, 1"."""
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"


def order_in_words(order, groups):
    """Whether an order of means holds in each of several groups, in one sentence.

    A pair of neighbours in the order counts as decided where the means differ by more than the
    spread over seeds explains, as `figures.within_spread` tells.

    Args:
        order: Names, the largest first.
        groups: Dict of group to dict of name to `figures.Statistic`.

    Returns:
        Such as "CB > none: holds for focal; not for softmax (none .70 > CB .69)".
    """
    verdicts = {"holds": [], "within": [], "not": [], "open": []}
    for group, statistics in groups.items():
        verdict, detail = _verdict(order, statistics)
        verdicts[verdict].append(f"{group} ({detail})" if detail else group)
    parts = [
        f"{words} {', '.join(verdicts[key])}"
        for key, words in (
            ("holds", "holds for"),
            ("within", "undecided, within the spread, for"),
            ("not", "not for"),
            ("open", "not finished for"),
        )
        if verdicts[key]
    ]
    text = f"{' > '.join(order)}: {'; '.join(parts)}."
    counts = {len(s.values) for statistics in groups.values() for s in statistics.values()}
    if counts <= {0, 1}:
        text += " One seed: how far the figures spread between seeds is not known."
    return text


def best_in_words(group, what, statistics):
    """Which of several has the largest mean accuracy, and which are within the spread of it.

    Args:
        group: What the sentence is about, such as "focal".
        what: What they are, in the singular, such as "power".
        statistics: Dict of name to `figures.Statistic`.

    Returns:
        Such as "focal: the most accurate power is 1 (.7050 ± .0071); within the spread of it: 0.5."
    """
    best, rest = _best(group, what, statistics)
    if best is None:
        return rest
    return f"{group}: the most accurate {what} is {best} ({statistics[best]}){rest}"


def chosen_in_words(outcome, group, what, places):
    """As `best_in_words`, by the figure that a best is chosen by.

    That is the accuracy on the test set or, where all runs have held-out images, the balanced
    accuracy on these; the test set then only measures what was chosen.

    Args:
        outcome: `cells.Outcome`.
        group: As there.
        what: As there.
        places: Dict of name to `(row, column)`.
    """
    statistics = {n: outcome.statistic(*place, outcome.chosen_by) for n, place in places.items()}
    if outcome.chosen_by != VALIDATION:
        return best_in_words(group, what, statistics)
    best, rest = _best(group, what, statistics)
    if best is None:
        return rest
    rest = _in_its_interval(outcome, places, statistics, best) or rest
    on_test = outcome.statistic(*places[best], "balanced_accuracy")
    return (
        f"{group}: the best {what} by balanced accuracy on held-out images is {best} "
        f"({statistics[best]}), which has {on_test} on the test set{rest}"
    )


def _in_its_interval(outcome, places, statistics, best):
    """How sure held-out images are of the best of one seed, where that is recorded.

    Few images are held out of a small class, so that their balanced accuracy is uncertain.
    """
    runs = outcome.at_hand(*places[best])
    interval = runs[0].get("validation_interval")
    if len(runs) > 1 or interval is None:
        return None
    fewest = runs[0].get("validation_fewest")
    if fewest is not None and fewest < FEWEST:  # of so few resampling finds intervals too narrow
        return (
            f"; of a class {counted(fewest, 'image')} {'is' if fewest == 1 else 'are'} held out, "
            "too few to tell it from the others."
        )
    low, high = interval
    inside = [name for name, s in statistics.items() if name != best and s.mean >= low]
    return (
        f"; its 95% interval over the held-out images, {accuracy(low)} to {accuracy(high)}, "
        f"{'also holds ' + ', '.join(inside) if inside else 'holds no other'}."
    )


def chosen(outcome, places):
    """The name of the best of `places`, by the figure that a best is chosen by; all are finished.

    Args:
        outcome: `cells.Outcome`.
        places: Dict of name to `(row, column)`.
    """
    means = {n: outcome.statistic(*at, outcome.chosen_by).mean for n, at in places.items()}
    return max(means, key=means.get)


def _best(group, what, statistics):
    """The name of the best and what follows it, or None and why there is none yet."""
    known = {name: s for name, s in statistics.items() if s.mean is not None}
    if len(known) < len(statistics):
        return None, f"{group}: {len(known)} of {len(statistics)} {what}s are finished."
    best = max(known, key=lambda name: known[name].mean)
    equal = [name for name in known if name != best and within_spread(known[best], known[name])]
    return best, f"; within the spread of it: {', '.join(equal)}." if equal else "."


def _verdict(order, statistics):
    if any(statistics[name].mean is None for name in order):
        return "open", ""
    wrong, close = [], []
    for larger, smaller in itertools.pairwise(order):
        a, b = statistics[larger], statistics[smaller]
        if within_spread(a, b):
            close.append(f"{larger} {a} and {smaller} {b}")
        elif a.mean <= b.mean:
            sign = "=" if a.mean == b.mean else ">"
            wrong.append(f"{smaller} {b} {sign} {larger} {a}")
    if wrong:
        return "not", "; ".join(wrong)
    return ("within", "; ".join(close)) if close else ("holds", "")
