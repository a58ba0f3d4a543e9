"""Evaluates a SavedModel of experiments.train on the test split of its data set.

python -m experiments.evaluate --saved_model=runs/NAME/saved_model

Without --dataset it is the data set that the model was trained on, in the version that it was.
"""

import json

from absl import flags

from experiments import cli, datasets
from experiments.datasets import data_flags
from experiments.exports import summary
from experiments.runs import data_record, outputs

flags.DEFINE_string("saved_model", None, "SavedModel folder, in a run directory.")
flags.DEFINE_string("output", None, "JSON file for the metrics.")

GROUPS = {"Model": ("saved_model", "output"), **data_flags.GROUPS}


def main(argv):
    """Evaluates what the flags name, prints the table and writes the metrics."""
    del argv
    given = {name: flags.FLAGS[name].value for names in GROUPS.values() for name in names}
    _check(given)
    folder = cli.local_path("--saved_model", given["saved_model"])
    data_dir = cli.local_path("--data_dir", given["data_dir"])
    cli.check_loadable("--saved_model", folder)
    from experiments.exports import evaluation, saved_model  # which import TensorFlow

    description = saved_model.description(folder)
    choices = {**data_record.choices(description), **_split(given)}
    data = datasets.load(_dataset(given, description), data_dir, given["download"], choices)
    different = data_record.differences(description, {"data": data_record.of(data)})
    if different:
        print(f"not the data of the training (there): {'; '.join(different)}")
    test = datasets.test_split_for(data, description["class_names"])
    description = evaluation.with_class_weights(description, folder)
    metrics = evaluation.evaluate(folder, description, test, given["eval_batch_size"])
    of_classes = (description[f"class_{what}"] for what in ("counts", "weights", "names"))
    for line in summary.lines(metrics, *of_classes):
        print(line)
    if given["output"]:
        text = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
        outputs.write_output(given["output"], text.encode())
        print(f"written to {given['output']}")


def _check(given):
    """Raises UserError where a flag is missing, out of range, or names what can't be written."""
    if not given["saved_model"]:
        raise cli.UserError("--saved_model is missing; give the saved_model/ of a run directory.")
    if given["eval_batch_size"] < 1:
        raise cli.UserError(
            f"--eval_batch_size must be at least 1, got {given['eval_batch_size']}."
        )
    for problem in data_flags.problems(given, all_for_test=True):
        raise cli.UserError(problem)
    if given["output"] and (problem := outputs.output_problem(given["output"])):
        raise cli.UserError(problem)


def _split(given):
    """How the test set is split off, where it is not as in the training."""
    names = ("test_fraction", "split_seed")
    return {name: given[name] for name in names if flags.FLAGS[name].present}


def _dataset(given, description):
    """The data set that is named, else that of the training, in the version that it had."""
    trained_on = data_record.name(description) or description["dataset"]
    dataset = given["dataset"] if flags.FLAGS["dataset"].present else trained_on
    try:
        datasets.check_name(dataset)
    except ValueError as error:
        raise cli.UserError(f"--dataset: {error}") from error
    return dataset


if __name__ == "__main__":
    for flag in (data_flags.DATASET, data_flags.TEST_FRACTION, data_flags.SPLIT_SEED):
        flags.set_default(flag, None)  # which depends on the model
    cli.run(main, groups=GROUPS)
