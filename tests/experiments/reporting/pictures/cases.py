"""Runs whose pictures are looked at, and how the functions that draw take them."""

import numpy as np

from cb_keras import metrics
from experiments.reporting.pictures import of_run
from experiments.reporting.pictures.series import Series, Style
from tests.experiments.report_folders import write_run


def series(folder):
    """The run in a folder, as the functions that draw take it."""
    return Series("a run", [of_run._read(folder)], Style("blue", "o"))


def odd_run(folder, names):
    """A finished run of classes with these names."""
    number = len(names)
    config = {"class_names": names, "class_counts": [9] * number, "class_weights": [1] * number}
    shots = dict.fromkeys(("many_accuracy", "medium_accuracy", "few_accuracy"), ...)
    return write_run(folder, [0.5] * number, config=config, metrics=shots)


def uneven_run(folder, number=4):
    """A run whose classes are not in the order of their sizes, the third without test images."""
    counts = [10, 1000, 500, 100, *range(99, 103 - number, -1)]
    groups, _ = metrics.shot_groups(counts)
    confusion_matrix = np.zeros((number, number), int)
    for c in range(number):
        confusion_matrix[c, c] += 10
        confusion_matrix[c, (c + 1) % number] += c + 1
    confusion_matrix[2] = 0
    measured = metrics.classification_report(confusion_matrix, counts)
    config = {
        "class_names": [f"class number {c}" for c in range(number)],
        "class_counts": counts,
        "class_weights": [1.0 + c for c in range(number)],
        "shot_groups": groups,
    }
    measured = {key: ... if value is None else value for key, value in measured.items()}
    return write_run(folder, [0.5] * number, config=config, metrics=measured)
