"""Run directories by hand, as small as a report needs them."""

import csv
import json

COUNTS = [1000, 100, 10]
NAMES = ["cat", "dog", "emu"]
FLAGS = {
    "dataset": "cifar10",
    "loss": "softmax",
    "cb_power": 1.0,
    "cb_beta": 0.9999,
    "gamma": 1.0,
    "long_tail": "exponential",
    "imbalance_factor": 0.01,
    "train_epochs": 4,
    "lr_decay": 0.01,
    "balanced_lr_decay": None,
    "seed": 0,
}

SCRIPT = "<script>document.title='owned'</script>"
IMAGE = '"><img src=x onerror="document.title=\'owned\'">'


def metrics_of(recalls, epochs=4):
    """`metrics.json` of a test set of 100 images a class, of which these shares are right."""
    right = [round(100 * recall) for recall in recalls]
    classes = len(right)
    confusion = [[0] * classes for _ in right]
    for c, n in enumerate(right):
        confusion[c][c] = n
        confusion[c][(c + 1) % classes] += 100 - n
    return {
        "accuracy": sum(right) / (100 * classes),
        "balanced_accuracy": sum(right) / (100 * classes),
        "per_class_accuracy": [n / 100 for n in right],
        "many_accuracy": right[0] / 100,
        "medium_accuracy": right[classes // 2] / 100,
        "few_accuracy": right[-1] / 100,
        "confusion_matrix": confusion,
        "loss": 1.0,
        "epochs": epochs,
        "train_seconds": 20.0,
        "images_per_second": 321.4,
    }


def write_run(folder, recalls=(0.9, 0.6, 0.3), config=None, metrics=None, epochs=4, **flags):
    """Writes `config.json`, `metrics.json` (without `recalls`: none) and `history.csv`.

    Args:
        folder: The run directory, made with its parents.
        recalls: Accuracy of each class.
        config: Keys of `config.json` to change; None as a value leaves the key out.
        metrics: The same of `metrics.json`, where null can be written as `...`.
        epochs: Rows of the history; test figures are in every second.
        **flags: Settings to change.
    """
    folder.mkdir(parents=True)
    content = {
        "flags": {**FLAGS, **flags},
        "resolved": {"lr_decay": flags.get("lr_decay", 0.01), "steps_per_epoch": 9},
        "class_names": NAMES,
        "class_counts": COUNTS,
        "class_weights": [0.1, 0.4, 2.5],
        "shot_rule": "thresholds",
        "versions": {"python": "3.11.7", "keras": "3.15.1"},
        "device": ["Abacus 9000"],
        "command": f"python -m experiments.train --seed={flags.get('seed', 0)}",
    }
    _write_json(folder / "config.json", {**content, **(config or {})})
    if recalls is not None:
        _write_json(folder / "metrics.json", {**metrics_of(recalls), **(metrics or {})})
    with open(folder / "history.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "loss", "val_accuracy"])
        for epoch in range(1, epochs + 1):
            writer.writerow([epoch, 2 / epoch, "" if epoch % 2 else 0.1 * epoch])
    return folder


def _write_json(path, content):
    content = {key: value for key, value in content.items() if value is not None}
    path.write_text(json.dumps({k: None if v is ... else v for k, v in content.items()}))


def hostile_runs(folder):
    """Runs of which everything that can hold text tries to become markup."""
    for power, trick in ((0, SCRIPT), (1, IMAGE)):
        name = f"run{trick}"
        write_run(
            folder / name,
            dataset=trick,
            loss=trick,
            cb_power=power,
            lr_boundaries=[trick],
            config={
                "class_names": [SCRIPT, IMAGE, "$\\frac{' & \udc80"],
                "versions": {trick: trick},
                "device": [trick],
                "command": f"python {trick}",
                "shot_rule": trick,
                "sessions": [
                    {"first_epoch": epoch, "device": trick * epoch, "versions": {trick: epoch}}
                    for epoch in (1, 3)
                ],
            },
        )
        write_run(folder / f"begun{trick}", None, train_epochs=trick)
        (write_run(folder / f"broken{trick}") / "history.csv").write_text(f"epoch\n{trick}\n")
    (folder / "power.md").write_text(
        f"# {SCRIPT}\n\n{IMAGE}\n\n    {SCRIPT}\n\n| {IMAGE} |\n|---|\n| {SCRIPT} |\n\n- {IMAGE}\n"
        "- [link](javascript:alert(1)) ![picture](http://127.0.0.1/x.png)\n"
    )
