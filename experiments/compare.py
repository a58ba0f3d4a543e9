"""Compares two finished runs on the same test images: paired differences, McNemar's test.

python -m experiments.compare RUN_A RUN_B [--output=FILE.json]

What the models say about the images is read from predictions.npz of each run where
experiments.evaluate --predictions wrote one, else computed from its saved_model/ or model.keras.
"""

import dataclasses
import json
import pathlib

from absl import flags

from experiments import cli, datasets
from experiments.exports import comparison, measured_on, predictions, program_flags
from experiments.runs import data_record, directory, effects, outputs, schema
from experiments.runs.files import DamagedError

program_flags.define("output")
flags.DEFINE_integer("resamples", comparison.RESAMPLES, "Bootstrap resamples of the test images.")

GROUPS = {"Comparison": ("output", "resamples"), **measured_on.GROUPS}
_LABELS = "RUN_A", "RUN_B"


@dataclasses.dataclass(frozen=True)
class _Run:
    """A finished run.

    Attributes:
        folder: The run directory.
        config: Its `config.json`.
        metrics: Its `metrics.json`.
    """

    folder: pathlib.Path
    config: dict
    metrics: dict


def main(argv):
    """Compares the runs that the arguments name, prints the table and writes the figures."""
    given = flags.FLAGS
    program_flags.check_output(given.output)
    measured_on.check({name: given[name].value for name in measured_on.GROUPS["Data"]})
    if given.resamples < 1:
        raise cli.UserError(f"--resamples must be at least 1, got {given.resamples}.")
    folders = [cli.local_path(*pair) for pair in zip(_LABELS, argv[1:], strict=True)]
    a, b = runs = [_Run(folder, *directory.read_finished(folder)) for folder in folders]
    on_others = measured_on.is_named()
    _check_alike(a, b, on_others)
    groups = _groups(a, b)
    loaded = {}
    answers = [
        (None if on_others else _stored(run)) or _computed(run, runs, loaded) for run in runs
    ]
    if answers[0].labels.tolist() != answers[1].labels.tolist():
        raise cli.UserError(
            f"{a.folder} and {b.folder} have other labels of the test images: compare runs that "
            "were tested on the same images."
        )
    found = comparison.compare(*answers, groups, given.resamples)
    for line in [*_heading(a, b, answers), "", *comparison.lines(found), _note(a, b)]:
        print(line)
    if given.output:
        record = {**_record(a, b, answers), **found, "note": _note(a, b)}
        text = json.dumps(record, indent=2, allow_nan=False) + "\n"
        outputs.write_output(given.output, text.encode())
        print(f"written to {given.output}")


def _check_alike(a, b, on_others):
    """Raises UserError where the runs have other classes, or were tested on other images."""
    keys = ["class_names"]
    records = [dict(run.config.get("data") or {}) for run in (a, b)]
    if all("test" in record for record in records):  # which says more than the names
        records = [{"test": record["test"]} for record in records]
    compared = [
        {**{key: run.config[key] for key in keys}, "data": {} if on_others else record}
        for run, record in zip((a, b), records, strict=True)
    ]
    if different := data_record.differences(*compared):
        raise cli.UserError(
            f"{a.folder} (there) and {b.folder} (here) were tested on different data "
            f"({'; '.join(different)}): compare runs that were tested on the same images."
        )


def _groups(a, b):
    """The shot groups of both runs; none where those differ, which is told."""
    groups = a.config["shot_groups"]
    if groups != b.config["shot_groups"] or not groups:
        print("the runs have other shot groups, or recorded none: no many, medium, few accuracy")
        return {}
    return groups


def _stored(run):
    """`predictions.npz` of a run; None where it has none, or, which is told, one of other data."""
    path = run.folder / predictions.NAME
    if not path.exists():
        return None
    try:
        answers = predictions.read(path)
    except DamagedError as error:
        raise cli.UserError(f"{error}; delete it, and the model is asked again.") from error
    if answers.about["class_names"] != run.config["class_names"] or not _are_of(
        answers, run.metrics
    ):
        print(f"{path} is not what metrics.json of its run is of: the model is asked again")
        return None
    return answers.as_distribution


def _are_of(answers, metrics):
    """Whether answers give the confusion matrix of the metrics; without one, the right ones."""
    classes = len(metrics["per_class_accuracy"])
    pairs = list(zip(answers.labels.tolist(), answers.classes.tolist(), strict=True))
    if metrics["confusion_matrix"] is not None:
        confusion = [[0] * classes for _ in range(classes)]
        for label, predicted in pairs:
            confusion[label][predicted] += 1
        return confusion == metrics["confusion_matrix"]
    images, right = [0] * classes, [0] * classes
    for label, predicted in pairs:
        images[label] += 1
        right[label] += label == predicted
    return (images, right) == schema.by_class(metrics)


def _computed(run, runs, loaded):
    """What the model of a run says about the test images.

    Args:
        run: `_Run`.
        runs: Both: an image that either model was trained on is left out for both.
        loaded: Dict of the data sets that were loaded, by name.
    """
    from experiments.exports import evaluation, trained  # which import Keras

    paths = {r.folder: program_flags.check_saved_model(trained.of_run(r.folder)) for r in runs}
    descriptions = {folder: trained.description(path) for folder, path in paths.items()}
    path, description = paths[run.folder], descriptions[run.folder]
    data = measured_on.load(description, loaded)
    if not measured_on.is_named():
        here = {"data": {"test": data_record.of_split(data.test)}}
        if different := data_record.differences(run.config, here):
            raise cli.UserError(
                f"{run.folder} was tested on other data than are here now "
                f"({'; '.join(different)}); point --data_dir at those data."
            )
    test = datasets.test_split_for(data, description["class_names"])
    if measured_on.is_named():
        test, _ = measured_on.unseen(data, test, descriptions.values())
    return evaluation.predict(path, description, test, flags.FLAGS.eval_batch_size)


def _heading(a, b, answers):
    """Which runs they are, in what settings they differ, and what the probabilities are."""
    for label, run, of_run in zip("AB", (a, b), answers, strict=True):
        yield f"{label}: {run.folder} (probabilities: {of_run.about['probabilities']})"
    for name, values in effects.different(a.config, b.config).items():
        told = zip("AB", (a, b), values, strict=True)
        words = [
            f"{effects.in_words(name, value, run.config['flags'])} in {label}"
            for label, run, value in told
        ]
        yield f"  --{name}: {', '.join(words)}"
    named = flags.FLAGS["dataset"]
    trained_on = data_record.name(a.config) or a.config["flags"]["dataset"]
    dataset = named.value if named.present else trained_on
    yield f"{len(answers[0].labels)} test images of {dataset}"


def _note(a, b):
    seeds = [run.config["flags"]["seed"] for run in (a, b)]
    same = "the same seed" if seeds[0] == seeds[1] else f"the seeds {seeds[0]} and {seeds[1]}"
    return (
        f"These are single trainings, with {same}: intervals and p tell of other test images, not "
        "of other training seeds, which can change more; train several seeds of each for that."
    )


def _record(a, b, answers):
    """What is written about the runs."""
    of_each = zip((a, b), answers, strict=True)
    runs = [
        {"run": str(run.folder), "probabilities": of_run.about["probabilities"]}
        for run, of_run in of_each
    ]
    different = effects.different(a.config, b.config).items()
    settings = {name: dict(zip("ab", values, strict=True)) for name, values in different}
    return {"a": runs[0], "b": runs[1], "different_settings": settings}


if __name__ == "__main__":
    measured_on.leave_to_the_model()
    cli.run(main, arguments=_LABELS, groups=GROUPS)
