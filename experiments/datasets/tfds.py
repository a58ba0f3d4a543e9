"""Image data sets of tensorflow-datasets: where they are, and how they get there."""

import os
import re

from experiments.cli import UserError, in_a_line, local_path
from experiments.datasets.source import Source
from experiments.runs import tails

_CIFAR = ("cifar10", "cifar100")  # the only ones to be flipped: a flipped digit is not a digit
_PREFIX = "tfds:"
_PACKAGES = ("tensorflow", "tensorflow_datasets")
_NAME = re.compile(rf"{_PREFIX}\w+(/[\w.-]+)*(:\d+\.\d+\.\d+)?")


def load(name, data_dir=None, download=False):
    """Reads a prepared data set into memory.

    Args:
        name: `cifar10`, `cifar100`, or `tfds:NAME` with a NAME of tfds, `name[/config][:1.0.0]`.
        data_dir: Folder of prepared data; None for `$TFDS_DATA_DIR`, then tfds's own.
        download: Whether tfds may download and prepare what is absent.

    Returns:
        `Data`.

    Raises:
        UserError: The data is absent, or not what experiments.train can train on.
    """
    from experiments.datasets import tfds_files

    root = _root(data_dir)
    tfds_name = name.removeprefix(_PREFIX)
    folder = _find_prepared(root, tfds_name)
    if folder is None and download:
        _download(tfds_name, root)
        folder = _find_prepared(root, tfds_name)
    if folder is None:
        raise UserError(
            f"no prepared {tfds_name} in {root.absolute()}. Either point --data_dir (or "
            "TFDS_DATA_DIR) at a folder that holds it, or add --download to fetch it there with "
            "tensorflow-datasets."
        )
    flipped = tfds_name.partition(":")[0] in _CIFAR
    return tfds_files.read(folder, _named(root, folder), "crop_flip" if flipped else "crop")


def full_name(name, data_dir=None):
    """The `Data.name` of what `load` would read now; None where nothing is prepared."""
    root = _root(data_dir)
    folder = _find_prepared(root, name.removeprefix(_PREFIX))
    return folder and _named(root, folder)


CIFAR = Source(
    names=", ".join(_CIFAR),
    accepts=lambda name: name in _CIFAR,
    load=load,
    full_name=full_name,
    needs=_PACKAGES,
)
ANY = Source(
    names=f"{_PREFIX}NAME",
    title="for any image data set of tfds",
    form="with NAME of the form name[/config][:1.0.0]",
    accepts=lambda name: _NAME.fullmatch(name) is not None,
    load=load,
    full_name=full_name,
    long_tail=tails.NATURAL,
    needs=_PACKAGES,
)


def _root(data_dir):
    given = {"--data_dir": data_dir, "TFDS_DATA_DIR": os.environ.get("TFDS_DATA_DIR") or None}
    given["the default of --data_dir"] = "~/tensorflow_datasets"
    return next(local_path(what, path) for what, path in given.items() if path is not None)


def _named(root, folder):
    *parts, version = folder.relative_to(root).parts
    return f"{_PREFIX}{'/'.join(parts)}:{version}"


def _download(name, root):
    import tensorflow_datasets as tfds

    try:
        tfds.builder(name, data_dir=root).download_and_prepare()
    except tfds.core.registered.DatasetNotFoundError as error:
        raise UserError(
            f"tensorflow-datasets knows no data set {name!r}; its catalogue is at "
            "https://www.tensorflow.org/datasets."
        ) from error
    # tfds wraps what goes wrong in errors of many kinds; none of them is ours.
    except Exception as error:
        raise UserError(
            f"tensorflow-datasets could not prepare {name} in {root.absolute()}: {in_a_line(error)}"
        ) from error


def _find_prepared(root, name):
    """Newest prepared version of a tfds data set below `root`, or None; reads no network."""
    name, _, version = name.partition(":")
    name, _, config = name.partition("/")
    found = {}
    for info in (root / name).glob("**/dataset_info.json"):
        *configs, found_version = info.parent.relative_to(root).parts[1:] or ("",)
        if re.fullmatch(r"\d+\.\d+\.\d+", found_version) and version in ("", found_version):
            found.setdefault("/".join(configs), []).append(info.parent)
    if config:
        found = {key: value for key, value in found.items() if key == config}
    if len(found) > 1:
        raise UserError(
            f"{root / name} holds several configurations; name one of them: "
            + ", ".join(f"{_PREFIX}{name}/{key}" for key in sorted(found))
        )
    folders = next(iter(found.values()), [])
    return max(folders, key=lambda f: [int(n) for n in f.name.split(".")], default=None)
