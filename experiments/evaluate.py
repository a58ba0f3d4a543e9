"""Evaluates a SavedModel of experiments.train on the test split of its data set.

python -m experiments.evaluate --saved_model=runs/NAME/saved_model --dataset=cifar10
"""

import json

from absl import flags

import cb_keras
from experiments import cli, datasets
from experiments.datasets import data_flags
from experiments.exports import saved_model, scoring
from experiments.runs import data_record, outputs

SAVED_MODEL = flags.DEFINE_string("saved_model", None, "SavedModel folder, in a run directory.")
OUTPUT = flags.DEFINE_string("output", None, "JSON file for the figures.")


def main(argv):
    """Evaluates what the flags name, prints the table and writes the figures."""
    del argv
    if not SAVED_MODEL.value:
        raise cli.UserError("--saved_model is missing; give the saved_model/ of a run directory.")
    if data_flags.EVAL_BATCH_SIZE.value < 1:
        raise cli.UserError(
            f"--eval_batch_size must be at least 1, got {data_flags.EVAL_BATCH_SIZE.value}."
        )
    if OUTPUT.value and (problem := outputs.output_problem(OUTPUT.value)):
        raise cli.UserError(problem)
    folder = cli.local_path("--saved_model", SAVED_MODEL.value)
    data_dir = cli.local_path("--data_dir", data_flags.DATA_DIR.value)
    cli.check_loadable("--saved_model", folder)
    description = saved_model.description(folder)
    # Unless it is said, what the model was trained on, in the version that it was.
    given = flags.FLAGS["dataset"].present
    trained_on = data_record.name(description) or description["dataset"]
    dataset = data_flags.DATASET.value if given else trained_on
    try:
        datasets.check_name(dataset)
    except ValueError as error:
        raise cli.UserError(f"--dataset: {error}") from error
    data = datasets.load(dataset, data_dir, data_flags.DOWNLOAD.value)
    different = data_record.differences(description, {"data": data_record.of(data)})
    if different:
        print(f"not the data of the training (there): {'; '.join(different)}")
    test = datasets.test_split_for(data, description["class_names"])
    figures = saved_model.evaluate(folder, test, data_flags.EVAL_BATCH_SIZE.value)
    settings, counts = description["settings"], description["class_counts"]
    weights = cb_keras.class_balanced_weights(counts, settings["cb_beta"], settings["cb_power"])
    for line in scoring.table(figures, counts, weights, description["class_names"]):
        print(line)
    if OUTPUT.value:
        text = json.dumps(figures, indent=2, allow_nan=False) + "\n"
        outputs.write_output(OUTPUT.value, text.encode())
        print(f"written to {OUTPUT.value}")


if __name__ == "__main__":
    cli.run(main)
