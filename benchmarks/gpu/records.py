"""Records of the stage `training` as those of runs on the data set itself, for tables.

python -m benchmarks.gpu.records TRAINING.json --data_dir=DIR --output_dir=results/runs --untimed

The trainings read an archive of CIFAR-10's long tail; which file that was says nothing to others.
Here its images are compared with the tail of the data set, pixel by pixel, and the records then
name the data set and its cut, as `experiments.train --dataset=cifar10` records them.
"""

import argparse
import copy
import json
import pathlib

from benchmarks.gpu import images
from experiments import datasets
from experiments.datasets import Split
from experiments.runs import data_record, naming
from experiments.training import flags as train_flags

# What the archive of a tail was read without, and what the data set is read with.
_CUT = {"long_tail": "exponential"}


def records(training, data_dir):
    """`(name, config, metrics, history)` of each run of a stage's file.

    Args:
        training: What the stage saved, a dict.
        data_dir: Folder of tensorflow-datasets with CIFAR-10; None for its own.

    Raises:
        SystemExit: A run was on other images than the tail.
    """
    data = datasets.load("cifar10", data_dir)
    tail = images.of_cifar10(data_dir)
    whole = data_record.of(data)
    archived = {
        part: data_record.of_split(Split(tail[f"x_{part}"], tail[f"y_{part}"]))
        for part in ("train", "test")
    }
    names = {}  # of the directories there, to those of the records
    for run, step in training["steps"].items():
        if "metrics" not in (step.get("figures") or {}):
            continue
        figures = step["figures"]
        config = copy.deepcopy(figures["config"])
        read = {part: config["data"][part] for part in archived}
        if read not in (archived, {part: whole[part] for part in archived}):
            raise SystemExit(
                f"{run} was trained neither on the data in {data_dir} nor on their long tail"
            )
        config["flags"] |= {"dataset": "cifar10", "augmentation": "auto"}
        if read == archived:
            config["flags"] |= _CUT
            if config["flags"]["seed"] != 0:  # the tail is that of seed 0, whatever the run's is
                config["flags"]["long_tail_seed"] = 0
        config["data"] = whole
        config["archive"] = naming.without_folders(figures["config"]["data"]["name"])
        if config["flags"].get("first_stage"):
            first, colon, digest = config["flags"]["first_stage"].partition(":")
            config["flags"]["first_stage"] = names.get(first, first) + colon + digest
        name = names[run] = naming.run_name(config["flags"])
        yield name, config, figures["metrics"], figures["history"]


def _known_flags(folder):
    """Flags that the records in a folder hold, or None without any."""
    found = [json.loads(file.read_text())["flags"] for file in folder.glob("*/config.json")]
    return set().union(*found) if found else None


def _plain(flags, known):
    """The flags without those that are at their defaults and that no other record holds.

    Older versions of the program, which may have made the other records, do not know them.
    """
    defaults = train_flags.protocol_defaults()
    return {
        name: value
        for name, value in flags.items()
        if known is None or name in known or value != defaults.get(name)
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("training", type=pathlib.Path)
    parser.add_argument("--data_dir")
    parser.add_argument("--output_dir", type=pathlib.Path, required=True)
    parser.add_argument(
        "--untimed", action="store_true", help="They ran beside others: images/s are left out."
    )
    arguments = parser.parse_args()
    training = json.loads(arguments.training.read_text())
    known = _known_flags(arguments.output_dir)
    for name, config, metrics, history in records(training, arguments.data_dir):
        config["flags"] = _plain(config["flags"], known)
        if arguments.untimed:
            metrics = {**metrics, "images_per_second": None}
        folder = arguments.output_dir / name
        if folder.exists():
            print(f"{folder} is there already and stays as it is")
            continue
        folder.mkdir(parents=True)
        for file, content in (("config.json", config), ("metrics.json", metrics)):
            (folder / file).write_text(json.dumps(content, indent=2) + "\n")
        (folder / "history.csv").write_text(history)
        print(f"{folder}: accuracy {metrics['accuracy']:.4f}")


if __name__ == "__main__":
    main()
