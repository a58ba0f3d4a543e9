"""The pictures of a section of the page, each as an address that holds it."""

import base64

from experiments.reporting import drawing, weights
from experiments.reporting.found import split_of_history
from experiments.reporting.pictures import classes, confusion, curves, powers, reliability
from experiments.reporting.pictures.series import Series
from experiments.runs import figures

_BY_POWER = {"balanced_accuracy": "balanced accuracy", "few_accuracy": "few-shot accuracy"}


def of_section(section, styles):
    """Dict of `methods` (a dict of pictures each), `by_power`, None where left out, and `weights`.

    Args:
        section: `sections.Section`.
        styles: Dict of power to `series.Style`.
    """
    series = {label: _series(groups, styles) for label, groups in section.groups.items()}
    everything = [one for of_label in series.values() for one in of_label]
    sizes_differ = len(set(section.config["class_counts"])) > 1
    # What stands side by side has one range.
    binned = [one for one in everything if reliability.is_known(one)]
    limits = {
        "curves": curves.ranges(everything),
        "accuracy": classes.accuracy_range(everything),
        "share": reliability.largest_share(binned),
    }
    families = weights.families(section) if sizes_differ else []
    return {
        "methods": [
            _of_method(section.groups[label], of_label, limits, sizes_differ)
            for label, of_label in series.items()
        ],
        "by_power": _by_power(section.groups),
        "weights": [
            {
                "image": _image(classes.weights_by_size, _series(family.groups, styles)),
                "labels": family.labels,
                "when": family.when,
            }
            for family in families
        ],
    }


def _series(groups, styles):
    """A series a power; a method without one has a single one, which needs no name."""
    return [
        Series("" if g.power is None else figures.setting(g.power), g.runs, styles[g.power])
        for g in groups
    ]


def _of_method(groups, series, limits, sizes_differ):
    known = [one for one in series if reliability.is_known(one)]
    title = None if groups[0].power is None else "power"
    measured = curves.is_measured(curves.TO_COMPARE[-1], series)
    split = split_of_history(groups[0].runs[0].metrics)
    return {
        "powers": [group.power for group in groups],
        "curves": _image(curves.above_each_other, series, title, limits["curves"])
        if any(run.history for one in series for run in one.runs)
        else None,
        "curves_show": f"training loss and {split} accuracy" if measured else "training loss",
        "class_accuracy": _image(classes.accuracy_by_size, series, title, limits["accuracy"])
        if sizes_differ
        else None,
        "reliability": _image(reliability.diagram, known, title, limits["share"])
        if known
        else None,
        "confusion": [
            (group.power, *_confusion(one))
            for group, one in zip(groups, series, strict=True)
            if confusion.is_known(one)
        ],
    }


def _confusion(one):
    """The matrix; of classes too many for their names also the pairs, or None."""
    if drawing.SVG.has_names(one.config):
        return _image(confusion.matrix, one, drawing.SVG), None
    some = confusion.most_confused(one)
    pairs = _image(confusion.pairs, one, _PAIRS, _LARGE) if some else None
    return _image(confusion.matrix, one, drawing.SVG, _LARGE), pairs


# Longer names than on the axes of a matrix.
_LARGE = (5.4, 5.0)
_PAIRS = drawing.Medium(most_names=0, longest_name=16, own_font=False)


def _by_power(groups):
    """`(wide picture, narrow picture, labels)` where a method has several powers, else None."""
    varied = {label: of_label for label, of_label in groups.items() if len(of_label) > 1}
    shown = {
        key: label
        for key, label in _BY_POWER.items()
        if any(group.over_seeds(key).values for of in varied.values() for group in of)
    }
    if not shown:
        return None
    wide, narrow = (_image(powers.figures_by_power, varied, shown, s) for s in (False, True))
    return wide, narrow, ", ".join(varied)


def _image(draw, *arguments):
    svg = base64.b64encode(drawing.svg(draw, *arguments)).decode()
    return f"data:image/svg+xml;base64,{svg}"
