"""What won, in words: by balanced accuracy, with its spread, and undecided where it is."""

from experiments.reporting.found import split_of
from experiments.runs import figures
from experiments.runs.figures import counted

_FIGURE = "balanced_accuracy"
_MOST_NAMED = 3


def in_words(section):
    """`(verdict, sentence)` on the groups of a `sections.Section`.

    The verdict is "won" only where the highest mean differs from each of the others by more than
    the spread of the difference over seeds; else "undecided", or "alone" for a single group.
    """
    ranked = [group for of_label in section.groups.values() for group in of_label]
    ranked.sort(key=lambda group: -group.over_seeds(_FIGURE).mean)
    first, *others = ranked
    split = split_of(first.runs[0].metrics)
    figure = f"balanced accuracy on the {split} set"
    if not others:
        return "alone", f"Only {_name(first)} was run: {figure} {_value(first)}."
    within = [group for group in others if _within(first, group) is not False]
    highest = f"the highest {figure} is that of {_name(first)}, {_value(first)}"
    if not within:
        second = f"next is {_name(others[0])}, {_value(others[0])}"
        return "won", f"{_name(first)} won: {figure} {_value(first)}; {second}."
    if all(_within(first, group) is None for group in within):
        why = "with one seed the spread is not known"
        return "undecided", f"Undecided, since {why}: {highest}; {_list(within, 'next is', 1)}."
    return (
        "undecided",
        f"Undecided: {highest}; {_list(within, 'not told apart from it', _MOST_NAMED)}.",
    )


def _within(a, b):
    return figures.within_spread(a.over_seeds(_FIGURE), b.over_seeds(_FIGURE))


def _name(group):
    return f"{group.label}, power {figures.setting(group.power)}"


def _value(group):
    return f"{group.over_seeds(_FIGURE)} ({counted(len(group.runs), 'seed')})"


def _list(groups, words, most):
    named = "; ".join(f"{_name(group)}, {_value(group)}" for group in groups[:most])
    more = f"; and {counted(len(groups) - most, 'other')}" if len(groups) > most else ""
    return f"{words} {named}{more}"
