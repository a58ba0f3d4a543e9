"""The table of `experiments.decision_boundary`."""

import numpy as np

from experiments.boundary import boundary_picture
from experiments.boundary.boundary_training import DIGITS, POWERS


def lines(problem, runs, settings):
    """Lines of text: the problem, then per power the class weights and the three figures."""
    digits, seeds = ", ".join(map(str, DIGITS)), len(next(iter(runs.values())))
    yield boundary_picture.description(settings)
    for name, labels in (("training", problem.train_labels), ("test", problem.test_labels)):
        yield f"{', '.join(map(str, np.bincount(labels)))} {name} images of the digits {digits}"
    yield f"seed {settings['seed']}, then mean ± sd of {seeds} seeds from it on"
    yield ""
    heads = "  ".join(f"{name:<17}" for name in boundary_picture.FIGURES)
    yield f"{'power':<18}  {f'weights of {digits}':<20}  {heads}".rstrip()
    for power, trained in runs.items():
        weights = " ".join(f"{weight:.4f}" for weight in trained[0].class_weights)
        cells = "  ".join(
            f"{first:.2f}  {m:.2f} ± {sd:.2f}" for first, m, sd in boundary_picture.figures(trained)
        )
        yield f"{f'{power} ({POWERS[power]})':<18}  {weights:<20}  {cells}"
