"""What the tests of sweeps share: settings, figures, and outcomes made of them by hand."""

from experiments.methods.powers import POWERS
from experiments.sweeps import cells
from experiments.sweeps.tables import TABLES

SETTINGS = {
    "dataset": "cifar10",
    "long_tail": "exponential",
    "imbalance_factor": 0.02,
    "loss": "focal",
    "cb_power": 1.0,
    "cb_beta": 0.9999,
    "gamma": 1.0,
    "train_epochs": 200,
    "batch_size": 64,
}


def cells_of(table, seeds=(0,), options=None, **changes):
    """The cells of a table, with these settings changed."""
    return cells.of_table(TABLES[table], {**SETTINGS, **changes}, seeds, options)


def metrics(accuracy, few=0.5):
    """`metrics.json` of a balanced test set, as far as tables need it."""
    return {
        "accuracy": accuracy,
        "balanced_accuracy": accuracy,
        "few_accuracy": few,
        "many_accuracy": 0.875,
        "medium_accuracy": 0.75,
        "loss": 1.25,
        "epochs": 200,
        "train_seconds": 10.0,
        "images_per_second": 100.0,
    }


def outcome(table, accuracy, seeds=(0,), **changes):
    """The outcome of a table whose cells have `accuracy(settings)`; None: not finished."""
    made = cells_of(table, seeds, **changes)
    found = {i: accuracy(cell.settings) for i, cell in enumerate(made)}
    figures = {i: metrics(value) for i, value in found.items() if value is not None}
    return cells.Outcome(TABLES[table], made, figures)


def table_2(accuracies, seeds=(0,)):
    """Table 2 with `accuracies[loss] = [(none, CB, sqrt, squared), ...]`, one tuple a seed."""
    values = {
        (loss, power, seed): row[i]
        for loss, rows in accuracies.items()
        for seed, row in zip(seeds, rows, strict=True)
        for i, power in enumerate(POWERS)
    }
    return outcome("2", lambda s: values.get((s["loss"], s["cb_power"], s["seed"])), seeds)
