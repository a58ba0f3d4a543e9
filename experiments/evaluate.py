"""Evaluates a model of experiments.train on the test split of its data set.

python -m experiments.evaluate --saved_model=runs/NAME/saved_model
python -m experiments.evaluate --saved_model=runs/NAME/model.keras

Without --dataset it is the data set that the model was trained on, in the version that it was.
"""

import json

from absl import flags

from experiments import cli, datasets
from experiments.datasets import data_flags
from experiments.exports import measured_on, predictions, program_flags, summary
from experiments.runs import data_record, outputs

program_flags.define("saved_model", "probabilities", "output")
flags.DEFINE_string(
    "predictions",
    None,
    "File for what the model says about each image, .npz: logits, probabilities, classes, labels.",
)

GROUPS = {"Model": ("saved_model", "probabilities", "output", "predictions"), **data_flags.GROUPS}


def main(argv):
    """Evaluates what the flags name, prints the table and writes the metrics."""
    del argv
    given = {name: flags.FLAGS[name].value for names in GROUPS.values() for name in names}
    measured_on.check(given)
    folder = program_flags.check_saved_model(given["saved_model"])
    program_flags.check_output(given["output"])
    program_flags.check_output(given["predictions"], "--predictions")
    from experiments.exports import evaluation, trained  # which import Keras

    description = trained.description(folder)
    data = measured_on.load(description)
    different = data_record.differences(description, {"data": data_record.of(data)})
    if different:
        print(f"not the data of the training (there): {'; '.join(different)}")
    test = datasets.test_split_for(data, description["class_names"])
    description = evaluation.with_class_weights(description, folder)
    answers = evaluation.predict(
        folder, description, test, given["eval_batch_size"], given["probabilities"]
    )
    metrics = evaluation.of_predictions(answers, description)
    of_classes = (description[f"class_{what}"] for what in ("counts", "weights", "names"))
    for line in summary.lines(metrics, *of_classes):
        print(line)
    text = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
    for name, content in (
        ("output", lambda: text.encode()),
        ("predictions", lambda: predictions.content(answers)),
    ):
        if given[name]:
            outputs.write_output(given[name], content(), f"--{name}")
            print(f"written to {given[name]}")


if __name__ == "__main__":
    measured_on.leave_to_the_model()
    cli.run(main, groups=GROUPS)
