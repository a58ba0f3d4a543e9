"""Flags of the programs that use an exported model, and the data set that they measure it on."""

from absl import flags

from experiments import cli, datasets
from experiments.exports import scores
from experiments.runs import data_record, outputs


def define(*names):
    """Defines flags that several programs have, where no program before did."""
    for name in names:
        if name not in flags.FLAGS:
            _FLAGS[name](name)


def _saved_model(name):
    flags.DEFINE_string(name, None, "SavedModel folder, in a run directory.")


def _output(name):
    flags.DEFINE_string(name, None, "JSON file for the results.")


def _probabilities(name):
    flags.DEFINE_enum(
        name,
        scores.NORMALIZED,
        list(scores.FORMS),
        "Probabilities of a sigmoid head (losses sigmoid and focal), which has one yes or no a "
        "class: over their sum, or raw as in the SavedModel. Those of a softmax sum to 1 as they "
        "are.",
    )


_FLAGS = {"saved_model": _saved_model, "output": _output, "probabilities": _probabilities}


def check_saved_model(value):
    """The folder that `--saved_model` names; raises UserError where there is none to load."""
    if not value:
        raise cli.UserError("--saved_model is missing; give the saved_model/ of a run directory.")
    folder = cli.local_path("--saved_model", value)
    cli.check_loadable("--saved_model", folder)
    return folder


def check_output(value, name="--output"):
    """Raises UserError where no file can be written there."""
    if value and (problem := outputs.output_problem(value, name)):
        raise cli.UserError(problem)


def check_batch_size(value):
    """Raises UserError where it holds no image."""
    if value < 1:
        raise cli.UserError(f"--eval_batch_size must be at least 1, got {value}.")


def load_data(description, loaded=None):
    """`Data` that `--dataset` names, else that of the training, in the version that it had.

    Args:
        description: Of the SavedModel.
        loaded: Dict of name to `Data` that were loaded before, added to; None to keep nothing.
    """
    loaded = {} if loaded is None else loaded
    flag = flags.FLAGS["dataset"]
    trained_on = data_record.name(description) or description["dataset"]
    dataset = flag.value if flag.present else trained_on
    try:
        datasets.check_name(dataset)
    except ValueError as error:
        raise cli.UserError(f"--dataset: {error}") from error
    data_dir = cli.local_path("--data_dir", flags.FLAGS.data_dir)
    if dataset not in loaded:
        loaded[dataset] = datasets.load(dataset, data_dir, flags.FLAGS.download)
    return loaded[dataset]
