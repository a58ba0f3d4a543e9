"""What the tests of sweeps share: settings, outcomes made by hand, sweeps that train nothing."""

import csv
import json
import pathlib

from absl import flags
from absl.testing import flagsaver

from experiments import sweep
from experiments.exports import posthoc_flags
from experiments.methods.powers import POWERS
from experiments.sweeps import cells
from experiments.sweeps.tables import TABLES
from tests.experiments.cases import call

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


def outcome(table, accuracy, seeds=(0,), validation=None, **changes):
    """The outcome of a table whose cells have `accuracy(settings)`; None: not finished.

    `validation(settings)` is their balanced accuracy on held-out images, where they have some.
    """
    made = cells_of(table, seeds, **changes)
    found = {i: accuracy(cell.settings) for i, cell in enumerate(made)}
    figures = {i: metrics(value) for i, value in found.items() if value is not None}
    if validation:
        for i, of_cell in figures.items():
            of_cell["validation_balanced_accuracy"] = validation(made[i].settings)
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


TABLE_2 = ("--table=2", "--output_dir=out", "--dataset=digits", "--train_epochs=20")


# What `python -m experiments.train` does in a working directory that has it.
TRAINER = """
    import json, pathlib, sys
    flags = dict(a.removeprefix("--").partition("=")[::2] for a in sys.argv[1:])
    folder = pathlib.Path(flags["output_dir"])
    if folder.name in pathlib.Path("broken.txt").read_text().split():
        sys.exit("error: the training diverged")
    folder.mkdir(parents=True)
    for name, text in json.loads(pathlib.Path("prepared.json").read_text())[folder.name].items():
        (folder / name).write_text(text)
"""


def held_out(accuracy):
    """Figures of held-out images, ten of each of two classes."""
    right = round(10 * accuracy)
    return {
        **{"accuracy": accuracy, "balanced_accuracy": accuracy, "few_accuracy": None},
        **{"loss": 1.0, "per_class_accuracy": [accuracy, accuracy]},
        "confusion_matrix": [[right, 10 - right], [10 - right, right]],
    }


def files(settings, job):
    """What a job leaves: accuracy .70 for power 1, less with the distance from it.

    After something was done to a network it is .80. On held-out images, where the run has some, it
    is .9 for power 1, .5 for others, and .7 after something was done.
    """
    accuracy = 0.7 - 0.1 * abs(settings["cb_power"] - 1) if job.trains else 0.8
    accuracy += 0.01 * settings["seed"]
    right = round(1000 * accuracy)
    config = {
        **{"flags": settings, "class_counts": [50, 1], "class_weights": [0.5, 1.5]},
        "class_names": ["a", "b"],
    }
    metrics = {
        **{"accuracy": accuracy, "balanced_accuracy": accuracy, "few_accuracy": None},
        **{"loss": 1.0, "epochs": settings["train_epochs"], "train_seconds": 1.0},
        **{"images_per_second": 2.0, "per_class_accuracy": [accuracy, accuracy]},
        "confusion_matrix": [[right, 1000 - right], [1000 - right, right]],
    }
    if job.settings["validation_fraction"]:
        on_held_out = 0.9 if settings["cb_power"] == 1 else 0.5
        metrics |= {"split": "test", "validation": held_out(on_held_out if job.trains else 0.7)}
    if not job.trains:
        return {job.figures: json.dumps({**metrics, "posthoc": done_after(job)})}
    return {
        "config.json": json.dumps(config),
        "history.csv": "epoch\n1\n",
        "metrics.json": json.dumps(metrics),
    }


def done_after(job):
    """`posthoc` of the figures of an evaluation: its flags; 2.0 of a number that is chosen."""
    given = dict(a.removeprefix("--").partition("=")[::2] for a in job.arguments)
    lists = {n: given[n].split(",") for n in ("posthoc", "posthoc_prior") if n in given}
    chosen = posthoc_flags.searched({**dict.fromkeys(posthoc_flags.NAMES), **given, **lists})
    numbers = dict.fromkeys(chosen, 2.0)
    for name in ("tau", "temperature"):
        if f"posthoc_{name}" in given:
            numbers[name] = float(given[f"posthoc_{name}"])
    done = {"steps": lists["posthoc"], **numbers}
    if chosen:
        done["chosen_by"] = dict.fromkeys(chosen, "balanced_accuracy")
    if "posthoc_prior" in lists:
        done["prior"] = [float(word) for word in lists["posthoc_prior"]]
    return done


def train(job):
    """Leaves in the folder of a job what was prepared for it."""
    with open("calls.txt", "a") as file:
        print(job.name, file=file)
    job.folder.mkdir(parents=True, exist_ok=not job.trains)
    for name, text in json.loads(pathlib.Path("prepared.json").read_text())[job.name].items():
        if name == "config.json":  # as it is trained again, on all images
            own = {"validation_fraction": job.settings["validation_fraction"]}
            text = json.dumps({**json.loads(text), "flags": json.loads(text)["flags"] | own})
        (job.folder / name).write_text(text)


def launch(jobs, slots, retries, on_change, on_poll):
    """A launcher that trains nothing, and does so in this process; cells in broken.txt fail."""
    del slots, retries
    for job in jobs:
        if job.state == "waiting":
            job.state, job.attempts = "running", 1
            on_change(job)
            if job.name in pathlib.Path("broken.txt").read_text().split():
                job.state, job.reason = "failed", "exit status 2: error: the training diverged"
            else:
                train(job)
                job.state = "done"
            on_change(job)
            on_poll()


def prepare(*arguments):
    """Writes what the trainings of a sweep are to leave; returns the sweep."""
    with flagsaver.flagsaver():
        flags.FLAGS(["sweep", *arguments])
        made = sweep.plan()
    prepared = {job.name: files(job.recorded(), job) for job in made.jobs}
    with open("prepared.json", "w") as file:
        json.dump(prepared, file)
    return made


def run(*arguments):
    made = prepare(*arguments)
    call(sweep.main, *arguments)
    return made


def calls(work):
    return (work / "calls.txt").read_text().split()


def rows(folder):
    with open(folder / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def change(path, **changes):
    """Changes keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def record_data(job, data):
    """Lets the run of a job have been trained on these data."""
    change(job.folder / "config.json", data=data)
