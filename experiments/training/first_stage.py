"""The finished run that a second stage begins with: what both share, and what is refused."""

import contextlib

from experiments import methods
from experiments.backbones import weights
from experiments.cli import UserError, local_path
from experiments.methods.method import SCALED_HEAD
from experiments.runs import data_record, directory

# The data and the network of a second stage are the first's.
SHARED = (
    *(
        "dataset",
        "test_fraction",
        "split_seed",
        "image_size",
        "long_tail",
        "imbalance_factor",
        "long_tail_seed",
    ),
    *("validation_fraction", "seed", "backbone", "depth"),
)
# What a second stage says itself: all but the head is frozen, and from the first stage.
_SETTLED = {"freeze_epochs": 0, "backbone_weights": None}


def adopted(settings, is_given):
    """The settings with those of the first stage that both share, where nobody gave another.

    What is wrong with the first stage is for `problems` to tell.

    Args:
        settings: Values of the flags.
        is_given: Function of a flag's name that says whether somebody gave it.
    """
    if settings["first_stage"] is None:
        return settings
    with contextlib.suppress(UserError):
        theirs = _read(settings["first_stage"])["flags"]
        shared = {n: theirs[n] for n in SHARED if n in theirs and not is_given(n)}
        return {**settings, **shared}
    return settings


def recorded(folder):
    """What a second stage records of the first: its name, and a digest of its network."""
    if folder is None:
        return None
    folder = local_path("--first_stage", folder)
    return f"{folder.name}: {weights.recorded(folder / 'model.keras')}"


def problems(settings, planned=None):
    """What is wrong with `--first_stage`, a line each.

    Args:
        settings: Settings of experiments.train.
        planned: The settings of the first stage where it may not be trained yet.
    """
    folder = settings["first_stage"]
    try:
        method = methods.of(settings)
    except ValueError:  # which the checks of the method tell
        return
    if folder is None and method.second_stage:
        yield (
            f"--method={method.name} is a second stage: give the directory of a finished run that "
            "it begins with, --first_stage=RUN."
        )
    if folder is None:
        return
    if not method.second_stage:
        known = " and ".join(f"--method={m.name}" for m in _second_stages())
        yield f"--first_stage has no effect on --method={method.name}; it belongs to {known}."
        return
    for name, usual in _SETTLED.items():
        if settings[name] != usual:
            yield (
                f"--{name} has no effect on --method={method.name}, which freezes all but the head "
                "and begins with --first_stage; leave it out."
            )
    try:
        theirs = planned or _read(folder)["flags"]
    except UserError as error:
        yield f"--first_stage: {error}"
        return
    yield from _differences(settings, theirs)
    if method.second_stage == SCALED_HEAD:
        yield from _problems_of_head(method, theirs)


def check_data(settings, record):
    """Raises UserError where the data are not those of the first stage.

    Args:
        settings: Checked settings.
        record: What is recorded of the data now, with their `class_counts`.
    """
    folder = settings["first_stage"]
    if folder is None:
        return
    config = _read(folder)
    here = {name: record[name] for name in ("data", "class_counts")}
    there = {name: config[name] for name in here if config.get(name)}
    if different := data_record.differences(there, here):
        raise UserError(
            f"--first_stage={folder} was trained on other data than are here now "
            f"({'; '.join(different)}): point --data_dir at those data."
        )


def _read(folder):
    """`config.json` of a finished run, with its network; raises UserError of another folder."""
    folder = local_path("--first_stage", folder)
    config, _ = directory.read_finished(folder)
    if not (folder / "model.keras").is_file():
        raise UserError(f"{folder} has no model.keras; give the directory that a run was made in.")
    return config


def _second_stages():
    return [method for method in methods.METHODS.values() if method.second_stage]


def _differences(settings, theirs):
    for name in SHARED:
        if name in theirs and theirs[name] != settings[name]:
            yield (
                f"--{name}={settings[name]} is not that of --first_stage, {theirs[name]}, whose "
                "data and network a second stage shares; leave it out."
            )


def _problems_of_head(method, theirs):
    """Refuses a head that scales can't be learnt for: of sigmoids, of cosines, with scales."""
    try:
        first = methods.of(theirs)
        head = first.head(theirs)
    except ValueError as error:
        yield f"--first_stage: {error}"
        return
    if head != "softmax" or first.second_stage == SCALED_HEAD:
        yield (
            f"--method={method.name} learns scales for the logits of a softmax, and --first_stage "
            f"is --method={first.name} --loss={theirs['loss']}: take a first stage with "
            "--loss=softmax, or --method=crt."
        )
