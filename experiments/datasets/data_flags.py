"""Flags that say which data set, shared by all programs."""

from absl import flags

from experiments import datasets

DATASET = flags.DEFINE_string("dataset", "cifar10", f"{datasets.NAMES}.")
DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Folder with prepared tensorflow-datasets; default $TFDS_DATA_DIR, else ~/tensorflow_datasets. "
    "Of folder:PATH it is where the decoded images are kept; default $CB_KERAS_CACHE, else "
    "$XDG_CACHE_HOME/cb_keras, else ~/.cache/cb_keras.",
)
DOWNLOAD = flags.DEFINE_bool(
    "download", False, "Download and prepare the data set with tfds where it is absent."
)
EVAL_BATCH_SIZE = flags.DEFINE_integer("eval_batch_size", 100, "Images per evaluation batch.")

TEST_FRACTION = flags.DEFINE_float(
    "test_fraction",
    0.2,
    "Part of every class that is the test set where a data set of one's own has none: folder:PATH "
    "without train/ and test/, npz:FILE with x and y (or images and labels) in place of x_train, "
    "y_train, x_test and y_test.",
)
SPLIT_SEED = flags.DEFINE_integer(
    "split_seed", 0, "Seed of that part; not --seed, so that runs with several have one test set."
)

_NAMES = ("dataset", "data_dir", "download", "test_fraction", "split_seed", "eval_batch_size")
GROUPS = {"Data": _NAMES}


def problems(settings, all_for_test=False):
    """What is wrong with the flags of a data set's split, a line each.

    Args:
        settings: Dict of flag to value; None where it is not given.
        all_for_test: Whether nothing has to be left for training.
    """
    fraction, seed = settings["test_fraction"], settings["split_seed"]
    if fraction is not None and not (0 < fraction < 1 or (all_for_test and fraction == 1)):
        ends = "(0, 1]" if all_for_test else "(0, 1)"
        yield f"--test_fraction must be in {ends}, such as 0.2; got {fraction:g}."
    if seed is not None and not 0 <= seed < 2**31:
        yield f"--split_seed must be in [0, 2^31), got {seed}."
