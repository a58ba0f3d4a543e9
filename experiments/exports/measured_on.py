"""The test images that a program measures exported models on, by the flags of `data_flags`."""

from absl import flags

from experiments import cli, datasets
from experiments.datasets import data_flags
from experiments.runs import data_record

_SPLIT = ("test_fraction", "split_seed")


def check(given):
    """Raises UserError where a flag of `data_flags` is out of range.

    Args:
        given: Mapping of those flags to their values.
    """
    if given["eval_batch_size"] < 1:
        raise cli.UserError(
            f"--eval_batch_size must be at least 1, got {given['eval_batch_size']}."
        )
    for problem in data_flags.problems(given, all_for_test=True):
        raise cli.UserError(problem)
    cli.local_path("--data_dir", given["data_dir"])


def is_named():
    """Whether the flags ask for other test images than those that the training had."""
    return any(flags.FLAGS[name].present for name in ("dataset", *_SPLIT))


def load(description, loaded=None):
    """`Data` that `--dataset` names, else that of the training, in the version that it had.

    The test set is split off as in the training, unless the flags say otherwise.

    Args:
        description: Of the SavedModel.
        loaded: Dict of what was loaded before, added to; None to keep nothing.
    """
    flag = flags.FLAGS["dataset"]
    trained_on = data_record.name(description) or description["dataset"]
    dataset = flag.value if flag.present else trained_on
    try:
        datasets.check_name(dataset)
    except ValueError as error:
        raise cli.UserError(f"--dataset: {error}") from error
    data_dir = cli.local_path("--data_dir", flags.FLAGS.data_dir)
    split = {name: flags.FLAGS[name].value for name in _SPLIT if flags.FLAGS[name].present}
    choices = {**data_record.choices(description), **split}
    loaded, key = {} if loaded is None else loaded, f"{dataset} {choices}"
    if key not in loaded:
        loaded[key] = datasets.load(dataset, data_dir, flags.FLAGS.download, choices)
    return loaded[key]


def leave_to_the_model():
    """Leaves the data set and its split to the model, where no flag says otherwise."""
    for flag in (data_flags.DATASET, data_flags.TEST_FRACTION, data_flags.SPLIT_SEED):
        flags.set_default(flag, None)
