"""Which of the methods that are compared weigh the classes alike, as their runs recorded it."""

import dataclasses

import numpy as np

from experiments.runs import effects


@dataclasses.dataclass(frozen=True)
class Family:
    """Methods and losses that have the same class weights under each power.

    Attributes:
        labels: List of their labels.
        groups: A `sections.Group` of each power, ascending.
        when: When these are the weights, in words; "" for throughout.
    """

    labels: list
    groups: list
    when: str


def families(section):
    """The `Family` of each label of a `sections.Section` whose method has a power.

    Class weights of a method that changes them are those that its run recorded, and are apart from
    those of the others.
    """
    found = []
    for label, groups in section.groups.items():
        if groups[0].power is None or groups[0].runs[0].after:  # which changes no weights
            continue
        when = _when(groups[0].runs[0])
        family = next((f for f in found if f.when == when and _agree(f.groups, groups)), None)
        if family is None:
            found.append(Family([label], list(groups), when))
            continue
        family.labels.append(label)
        powers = {group.power for group in family.groups}
        family.groups.extend(group for group in groups if group.power not in powers)
        family.groups.sort(key=lambda group: group.power)
    return found


def _when(run):
    method = effects.method_of(run.flags)
    if method.schedule is not None:
        return f"in the last epochs of {method.name}"
    return f"before the first epoch of {method.name}" if method.callback is not None else ""


def _agree(groups, others):
    ours = {group.power: _weights(group) for group in groups}
    both = [(ours[group.power], _weights(group)) for group in others if group.power in ours]
    return bool(both) and all(np.allclose(a, b, rtol=1e-5, atol=0) for a, b in both)


def _weights(group):
    return np.asarray(group.runs[0].config["class_weights"], "float64")
