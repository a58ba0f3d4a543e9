"""The runs in the folder of a sweep: which of them belong to it, and `results.csv`."""

import csv
import dataclasses
import io
import pathlib

from experiments import backbones, methods
from experiments.cli import UserError
from experiments.runs import (
    afterwards,
    data_record,
    directory,
    files,
    naming,
    recipe,
    sampling,
    schema,
    tails,
)
from experiments.runs.figures import Statistic
from experiments.runs.files import DamagedError, read_config
from experiments.sweeps.cells import VALIDATION
from experiments.training import flags as train_flags

_OF_THE_RUN = ("dataset", "method", "loss", *("cb_power", "cb_beta", "gamma"), "imbalance_factor")
RESULT_COLUMNS = (
    *(*_OF_THE_RUN, "seed", "epochs", "accuracy", "balanced_accuracy", "few_accuracy"),
    *("train_seconds", "images_per_second", "many_accuracy", "medium_accuracy"),
    *("ece", "nll"),
)
_MEASURED = (VALIDATION, "posthoc")  # columns that are not settings
_MAY_BE_A_COPY = "which does not have the name of its settings and so may be a copy"
# Flags that have a column of another name.
_COLUMN_OF = {"train_epochs": "epochs"}
# In what a run may differ from those of the table whose folder it is in.
_VARIED = naming.IN_NAME - {"dataset", "long_tail"}


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run of a sweep.

    Attributes:
        settings: The `flags` of its `config.json`; of those that it did not know, the defaults.
        metrics: Its `metrics.json`, the shot figures by the rule of today.
        added: Settings that its name tells beyond those that all names do.
        shot_rule: The rule of its shot figures that it recorded; None where it did not.
        todays_rule: The rule of today.
        shot_groups: Dict of class name to its shot group by that rule.
    """

    settings: dict
    metrics: dict
    added: tuple
    shot_rule: str | None
    todays_rule: str
    shot_groups: dict = dataclasses.field(default_factory=dict)


def check_records(folder, expected):
    """Refuses records of the cells that have other settings than asked for, or differing data.

    Args:
        folder: Folder of the records, `--records`; what else lies there is not looked at.
        expected: Dict of the folder of each cell's record to its settings.

    Raises:
        UserError: A record has other settings, or other data; or there is none at all.
    """
    defaults = train_flags.protocol_defaults()
    configs = {}
    for path, ours in expected.items():
        if (path / schema.METRICS).exists():
            configs[path], _ = directory.read_finished(path)
            refuse_others(f"--records={folder}", path, ours, {**defaults, **configs[path]["flags"]})
    if not configs:
        raise UserError(
            f"--records={folder} holds none of the {len(expected)} cells; the first would be "
            f"{next(iter(expected)).name}."
        )
    data_record.check_alike(configs)


def refuse_others(named, path, ours, theirs):
    """Refuses the run of a cell that has other settings than the cell.

    Args:
        named: The flag that names its folder, and the folder, for the message.
        path: Directory of the run.
        ours: Settings of the cell, as they are recorded.
        theirs: Those of the run.

    Raises:
        UserError: They differ; says in what.
    """
    if ours.get("first_stage") == recipe.first_stage(theirs):  # whose network is not here
        theirs = {**theirs, "first_stage": ours["first_stage"]}
    if different := directory.differences(ours, theirs):
        raise UserError(
            f"{named} holds a run with other settings, {path.name} "
            f"({'; '.join(different)}); give the flags that are there or choose another folder."
        )


def _is_special(settings):
    """Whether it is a second stage or has the strong recipe, which differ in more."""
    return recipe.is_on(settings) or bool(recipe.first_stage(settings))


def check_folder(folder, expected, varied, data_name, differs=()):
    """Refuses a folder whose runs have other settings or data, before any cell is started.

    A run of another table may lie next to them; only what the tables vary may differ.

    Args:
        folder: Folder of the sweep.
        expected: Dict of run directory of each cell to its recorded settings.
        varied: Flags that the table varies.
        data_name: Name of the data that cells are now trained on; None where none is left to do.
        differs: Settings in which second stages and runs with the strong recipe differ too.

    Raises:
        UserError: A run has other settings, or other data; names it.
    """
    added = {path: naming.added(path, ours) or () for path, ours in expected.items()}
    usual = [path for path in expected if not _is_special(expected[path])] or [*expected]
    plain = next((path for path in usual if not added[path]), usual[0])
    shared, of_row = expected[plain], added[plain]
    defaults = train_flags.protocol_defaults()  # of flags that an older run did not know
    configs = {}
    for path in sorted((folder / "runs").glob("*/config.json")):
        configs[path.parent] = directory.read_config(path.parent)
        theirs = {**defaults, **configs[path.parent]["flags"]}
        ours = expected.get(path.parent)
        if ours is None:
            own = {*_VARIED, *varied, *of_row, *(naming.added(path.parent, theirs) or ())}
            if _is_special(theirs) or _is_special(shared):
                own |= {*differs}
            ours = {**shared, **{name: theirs.get(name) for name in own}}
        refuse_others(f"--output_dir={folder}", path.parent, ours, theirs)
    if data_name is not None:
        configs[data_record.TO_BE_TRAINED] = {"data": {"name": data_name}}
    data_record.check_alike(configs)


def finished(folder, own=()):
    """The finished runs of a sweep, of all tables.

    Args:
        folder: Folder of the sweep.
        own: Run directories of the cells, which count whatever their names are, and their files of
            figures after something was done.

    Returns:
        `(runs, left_out)`: dict of run directory to `Run`, and dict of what is finished but does
        not count to the reason, in words.

    Raises:
        UserError: A run is damaged, or two are on different data.
    """
    folders = sorted(path.parent for path in (folder / "runs").glob("*/metrics.json"))
    counted = [run for run in folders if run in own or _added(run) is not None]
    left_out = {run: _MAY_BE_A_COPY for run in folders if run not in counted}
    after = [path for run in counted for path in sorted(run.glob(f"{afterwards.PREFIX}*.json"))]
    left_out |= {path: reason for path in after if path not in own and (reason := _other(path))}
    return read([*counted, *(path for path in after if path not in left_out)]), left_out


def _other(path):
    """Why figures after something was done are no figures of the run, or ""."""
    try:
        files.read_posthoc(path, read_config(path.parent / schema.CONFIG))
    except files.OtherImagesError:
        return "which was measured on other images than the run"
    except DamagedError:
        pass  # which `read` tells
    return ""


def read(paths):
    """Dict of run directory, or of a file of figures after something was done, to `Run`.

    Raises:
        UserError: A run is damaged, or two are on different data.
    """
    found = {path: _read(path) for path in paths}
    data_record.check_alike({run: config for run, (config, _) in found.items()})
    runs = {}
    for path, (config, metrics) in found.items():
        metrics, *rules = with_todays_shot_groups(config, metrics)
        settings = {**train_flags.protocol_defaults(), **config["flags"]}
        folder = path.parent if path.suffix == ".json" else path
        groups = _shot_groups_of(config)
        runs[path] = Run(settings, metrics, _added(folder) or (), *rules, groups)
    return runs


def _read(path):
    """`(config.json, figures)` of a run directory, or of a file of other figures in one."""
    if path.suffix != ".json":
        return directory.read_finished(path)
    config, _ = directory.read_finished(path.parent)
    try:
        metrics = files.read_posthoc(path, config)
    except files.OtherImagesError as error:
        raise UserError(
            f"{error} ({path}): the test images have changed since the network was trained. Put "
            "those back and delete this file, or train all again in another --output_dir."
        ) from error
    except DamagedError as error:
        raise UserError(
            f"{path} is not what experiments.evaluate writes after --posthoc ({error}); delete it, "
            "and evaluate again."
        ) from error
    return config, metrics


def check_posthoc(path, run, asked):
    """Raises UserError where other things were done to a network than a cell asks for.

    Args:
        path: The file of its figures.
        run: `Run` of them.
        asked: `posthoc` of the cell; None of a training.
    """
    if asked is None:
        return
    about = run.metrics["posthoc"]
    if asked.get("posthoc_prior"):  # words, as of the flag
        asked = {**asked, "posthoc_prior": [float(word) for word in asked["posthoc_prior"]]}
    done = {"posthoc": about.get("steps")}
    done |= {n: about.get(n.removeprefix(afterwards.PREFIX)) for n in asked if n not in done}
    if different := directory.differences(asked, done):
        raise UserError(f"{path} is of something else ({'; '.join(different)}); delete it.")


def _added(folder):
    """`naming.added` of a run directory; None also where its `config.json` is damaged."""
    try:
        flags = read_config(pathlib.Path(folder) / "config.json")["flags"]
    except DamagedError:
        return None
    return naming.added(folder, {**train_flags.protocol_defaults(), **flags})


def with_todays_shot_groups(config, metrics):
    """Metrics of a finished run, with the shot figures by the rule of today, as one table needs.

    Args:
        config: `config.json` of the run.
        metrics: Its `metrics.json`.

    Returns:
        `(metrics, recorded, today)`: the metrics, the rule that the run recorded, None where it
        did not, and the rule of today.
    """
    groups, rule = _todays_shot_groups(config)
    recalls = metrics["per_class_accuracy"]
    again = {
        f"{name}_accuracy": Statistic.of(recalls[c] for c in ids).mean
        for name, ids in groups.items()
    }
    return {**metrics, **again}, config.get("shot_rule"), rule


def _todays_shot_groups(config):
    """`(ids by group, rule)` of the class counts of a run."""
    import numpy as np

    from cb_keras.metrics import shot_groups

    # Of any size: a file can hold integers that NumPy has no type for.
    return shot_groups(np.asarray(config["class_counts"], "float64"))


def _shot_groups_of(config):
    groups, _ = _todays_shot_groups(config)
    return {config["class_names"][c]: group for group, ids in groups.items() for c in ids}


def csv_text(runs, varied=()):
    """Text of `results.csv`.

    Args:
        runs: Iterable of `Run`.
        varied: Flags that a grid varies.
    """
    runs = list(runs)
    names = dict.fromkeys([*varied, *sorted({name for run in runs for name in run.added})])
    names |= dict.fromkeys(  # which a name tells without a grid
        name for name, x in _usual().items() if any(run.settings.get(name, x) != x for run in runs)
    )
    for name in _MEASURED:
        if any(run.metrics.get(name) is not None for run in runs):
            names[name] = None
    also = [name for name in names if _COLUMN_OF.get(name, name) not in RESULT_COLUMNS]
    columns = (*RESULT_COLUMNS, *also)
    rows = [_row(run, also) for run in runs]
    rows.sort(key=lambda row: [str(row[column]) for column in (*RESULT_COLUMNS[:9], *also)])
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _usual():
    """The settings that a run has a column of where they are others than these."""
    own = {p.name: p.default for p in methods.PARAMETERS.values()}
    return {"backbone": backbones.DEFAULT, "sampler": sampling.UNIFORM, **recipe.OLDER, **own}


def _row(run, also):
    """The columns of a run; what it does not have, such as a natural tail a factor, is empty."""
    method = methods.of(run.settings)
    without_effect = {*methods.PARAMETERS} - {p.name for p in method.parameters_of(run.settings)}
    row = {
        **run.metrics,
        **run.settings,  # after the metrics, whose `loss` is a number
        **{name: _exact(run.settings.get(name)) for name in also if name not in _MEASURED},
        VALIDATION: run.metrics.get(VALIDATION),
        "posthoc": afterwards.in_words(run.metrics.get("posthoc")),
        **dict.fromkeys(without_effect),
        "method": method.name,
        "imbalance_factor": tails.factor(run.settings),
    }
    return {key: "" if value is None else value for key, value in row.items()}


def _exact(value):
    return None if value is None else naming.exact(value)
