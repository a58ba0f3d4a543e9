"""The test images that a program measures exported models on, by the flags of `data_flags`."""

import numpy as np
from absl import flags

from experiments import cli, datasets
from experiments.datasets import data_flags
from experiments.exports import training_images
from experiments.runs import data_record

REFUSE, LEAVE_OUT, KEEP = _RULES = ("refuse", "leave_out", "keep")
flags.DEFINE_enum(
    "training_images",
    REFUSE,
    list(_RULES),
    "Where other data are measured on than the test images of the training, and some of them are "
    "images that the model was trained on, by their pixels: refuse them, leave_out to measure on "
    "the others, or keep.",
)

GROUPS = {"Data": (*data_flags.GROUPS["Data"], "training_images")}
_SPLIT = ("test_fraction", "split_seed")


def check(given):
    """Raises UserError where a flag of `data_flags` is out of range.

    Args:
        given: Mapping of the flags of `GROUPS` to their values.
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


def unseen(data, test, descriptions):
    """The test images to measure on, once it is known which of them a model was trained on.

    Those of the training itself are never refused: what they share with the training images is in
    the figures of the run too.

    Args:
        data: `Data`, as `load` gives them.
        test: `Split` of its test images, as the models have their classes.
        descriptions: Of the models.

    Returns:
        `(Split, record)`; the record, JSON-able, has the name of the data, their `choices` where
        they have some, how many `images` are measured on and digests of them; how many of those are
        `training_images`, None where a model does not say what it was trained on; and how many were
        `left_out` because they are.

    Raises:
        UserError: Some are, and `--training_images` does not say what to do with them.
    """
    trained_on = [training_images.of(description) for description in descriptions]
    known = [found for found in trained_on if found is not None]
    seen = np.zeros(len(test.labels), bool)
    if known:
        seen = np.isin(training_images.digests(test), np.concatenate(known))
    rule, number = flags.FLAGS["training_images"].value, int(seen.sum())
    own = all(_is_its_own(data, description) for description in descriptions)
    if number and rule == REFUSE and not own:
        raise cli.UserError(_refusal(data, number, len(seen), descriptions))
    left_out = number if rule == LEAVE_OUT else 0
    if left_out == len(seen):
        raise cli.UserError(
            f"--training_images=leave_out leaves none of {len(seen)} test images of {data.name}: "
            "give a --dataset of new images."
        )
    if left_out:
        test = test.take(np.flatnonzero(~seen))
    unknown = len(known) < len(trained_on)
    for line in _lines(number, len(seen), left_out, unknown, own):
        print(line)
    return test, {
        "name": data.name,
        **({"choices": data.choices} if data.choices else {}),
        **data_record.of_split(test),
        "training_images": None if unknown else number - left_out,
        "left_out": left_out,
    }


def _is_its_own(data, description):
    """Whether the test images are those that a model had at its training."""
    recorded = (description.get("data") or {}).get("test")
    return recorded == data_record.of_split(data.test)


def _refusal(data, number, of, descriptions):
    """The message on test images that a model was trained on."""
    fixes = []
    splits = [data_record.choices(description) for description in descriptions]
    for name in _SPLIT:
        there = {split[name] for split in splits if name in split}
        if len(there) == 1 and flags.FLAGS[name].present and flags.FLAGS[name].value not in there:
            fixes.append(f"--{name}={next(iter(there))}, as at the training")
    fixes += [
        "--dataset of new images alone",
        f"--training_images=leave_out to measure on the {of - number} others",
    ]
    again = ": a split is drawn again where the files or its flags change" * bool(data.choices)
    return (
        f"{number} of {of} test images of {data.name} are images that the model was trained on, "
        f"and these are not the test images of its training{again}. Give "
        f"{', '.join(fixes)}, or --training_images=keep."
    )


def _lines(number, of, left_out, unknown, own):
    """What is known of the test images that a model was trained on."""
    if unknown and not own:
        yield (
            "whether the model was trained on any of these test images is not known: it is of an "
            "older version, which recorded no digests of them"
        )
    elif number or not own:
        done = ", left out" if left_out else ""
        yield f"{number} of {of} test images are images that the model was trained on{done}"


def leave_to_the_model():
    """Leaves the data set and its split to the model, where no flag says otherwise."""
    for flag in (data_flags.DATASET, data_flags.TEST_FRACTION, data_flags.SPLIT_SEED):
        flags.set_default(flag, None)
