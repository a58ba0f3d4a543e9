"""Flags that say which data set, shared by all programs."""

from absl import flags

from experiments import datasets

DATASET = flags.DEFINE_string("dataset", "cifar10", f"{datasets.NAMES}.")
DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Folder with prepared tensorflow-datasets; default $TFDS_DATA_DIR, else ~/tensorflow_datasets.",
)
DOWNLOAD = flags.DEFINE_bool(
    "download", False, "Download and prepare the data set with tfds where it is absent."
)
EVAL_BATCH_SIZE = flags.DEFINE_integer("eval_batch_size", 100, "Images per evaluation batch.")

GROUPS = {"Data": ("dataset", "data_dir", "download", "eval_batch_size")}
