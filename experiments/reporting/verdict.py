"""What won, in words: by balanced accuracy, with its spread, and undecided where it is."""

from experiments.reporting.found import split_of, validation_of
from experiments.runs import figures
from experiments.runs.figures import Statistic, counted

WON, UNDECIDED, ALONE = "won", "undecided", "alone"
_FIGURE = "balanced_accuracy"
_MOST_NAMED = 3


def in_words(section):
    """`(verdict, split, sentence)` on the groups of a `sections.Section`.

    The verdict is `WON` only where the highest mean differs from each of the others by more than
    the spread over seeds explains (`figures.within_spread`); else `UNDECIDED`, or `ALONE` for a
    single group. They are compared on the images that were held out for validation, where all runs
    have such, and else on those that their figures are from.
    """
    groups = [group for of_label in section.groups.values() for group in of_label]
    held_out = all(_held_out(run) is not None for group in groups for run in group.runs)
    split = "validation" if held_out else split_of(groups[0].runs[0].metrics)
    values = [(group, _statistic(group, held_out)) for group in groups]
    values.sort(key=lambda of: -of[1].mean)
    (first, best), *others = values
    figure = f"balanced accuracy on the {split} set"
    tested = f" On the test set it has {first.over_seeds(_FIGURE)}." if held_out else ""
    if not others:
        return ALONE, split, f"Only {first.name} was run: {figure} {_value(best)}.{tested}"
    within = [of for of in others if figures.within_spread(best, of[1]) is not False]
    if not within:
        next_one = _list(others, "next is", 1, more=False)
        sentence = f"{first.name} won: {figure} {_value(best)}; {next_one}.{tested}"
        return WON, split, sentence
    highest = f"the highest {figure} is that of {first.name}, {_value(best)}"
    if all(figures.within_spread(best, value) is None for _, value in within):
        why = ", since the spread between seeds is not known"
        named = _list(within, "next is", 1, more=False)
    else:
        why, named = "", _list(within, "not told apart from it:", _MOST_NAMED)
    return UNDECIDED, split, f"Undecided{why}: {highest}; {named}.{tested}"


def _held_out(run):
    return validation_of(run.metrics, _FIGURE)


def _statistic(group, held_out):
    return Statistic.of(map(_held_out, group.runs)) if held_out else group.over_seeds(_FIGURE)


def _value(statistic):
    return f"{statistic} ({counted(len(statistic.values), 'seed')})"


def _list(values, words, most, more=True):
    named = "; ".join(f"{group.name}, {_value(value)}" for group, value in values[:most])
    others = len(values) - most
    also = f"; and {counted(others, 'other')}" if more and others > 0 else ""
    return f"{words} {named}{also}"
