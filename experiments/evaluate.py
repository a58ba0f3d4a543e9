"""Evaluates a model of experiments.train on the test split of its data set.

python -m experiments.evaluate --saved_model=runs/NAME/saved_model
python -m experiments.evaluate --saved_model=runs/NAME/model.keras
python -m experiments.evaluate --saved_model=runs/NAME/model.keras --posthoc=logit_adjustment

Without --dataset it is the data set that the model was trained on, in the version that it was.
"""

import functools
import json

from absl import flags

from experiments import cli, datasets
from experiments.exports import measured_on, posthoc_flags, predictions, program_flags, summary
from experiments.runs import data_record, directory, outputs

program_flags.define("saved_model", "probabilities", "output")
flags.DEFINE_string(
    "predictions",
    None,
    "File for what the model says about each image, .npz: logits, probabilities, classes, labels.",
)

posthoc_flags.define()

GROUPS = {
    "Model": ("saved_model", "probabilities", "output", "predictions"),
    "After the training": posthoc_flags.NAMES,
    **measured_on.GROUPS,
}


def main(argv):
    """Evaluates what the flags name, prints the table and writes the metrics."""
    del argv
    given = {name: flags.FLAGS[name].value for names in GROUPS.values() for name in names}
    measured_on.check(given)
    posthoc_flags.check(given)
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
    test, about_data = measured_on.unseen(data, test, [description])
    description = evaluation.with_class_weights(description, folder)
    run = held_out = None
    if posthoc_flags.steps(given):
        _check_posthoc(folder, description, given)
        held_out = _held_out(folder, given, is_of_training=not different)
        description, run = _after_posthoc(folder, description, given, held_out)

    def measured(split):
        how = given["eval_batch_size"], given["probabilities"], run
        found = evaluation.predict(folder, description, split, *how)
        return found, evaluation.of_predictions(found, description)

    answers, figures = measured(test)
    metrics = {**figures, "test_data": about_data}
    if held_out is not None:
        metrics["validation"] = evaluation.of_validation(measured(held_out)[1])
    if about := description.get("posthoc"):
        metrics["posthoc"] = about
        for line in posthoc_flags.lines(about, metrics.get("validation")):
            print(line)
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


def _check_posthoc(path, description, given):
    """Raises UserError where `--posthoc` is not for the model at `path`."""
    from experiments.exports import keras_file

    if not keras_file.is_one(path):
        raise cli.UserError(
            f"--posthoc takes model.keras of a run directory, and --saved_model={path} is a "
            "SavedModel; model.keras lies next to it."
        )
    posthoc_flags.check_model(description, given)


def _after_posthoc(path, description, given, held_out):
    """The model of a run after what `--posthoc` says: its description, and how it is run."""
    from experiments.exports import keras_file, posthoc

    model = keras_file.load(path)
    model, about = posthoc.apply(model, description, given, held_out, given["eval_batch_size"])
    description = {**description, "posthoc": about}
    if target := given["posthoc_saved_model"]:
        from experiments.exports import saved_model

        saved_model.export(model, cli.local_path("--posthoc_saved_model", target), description)
        print(f"written to {target}")
    return description, functools.partial(keras_file.predict, model)


def _held_out(path, given, is_of_training):
    """The training images that a run held out, or None.

    They are read where they choose something, and where the data of the training are at hand, to
    be measured on as the training did.

    Raises:
        UserError: Something is to be chosen, and it held none out, or they are not to be had.
    """
    from experiments.training import images

    names = posthoc_flags.searched(given)
    if not (names or is_of_training):
        return None
    config = directory.read_config(path.absolute().parent)
    data_dir = cli.local_path("--data_dir", given["data_dir"])
    held_out = images.held_out_again(config, data_dir, given["download"])
    if held_out is None and names:
        fix = " ".join(f"--posthoc_{name}=1" for name in names)
        raise cli.UserError(
            f"{' and '.join(names)} can't be chosen: the run of {path} held no training images "
            f"out, and test images choose nothing; give {fix}, or train one with "
            "--validation_fraction=0.1."
        )
    return held_out


if __name__ == "__main__":
    measured_on.leave_to_the_model()
    cli.run(main, groups=GROUPS)
