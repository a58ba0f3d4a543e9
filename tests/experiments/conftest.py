"""How the tests run the trainer, and the runs that several files look at."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from experiments import compare, evaluate, predict, train
from tests import HANG_SECONDS
from tests.experiments.cases import DIGITS_PRESET, ROOT, SHORT, Run, call


@pytest.fixture(scope="session")
def call_train():
    """Function of flags that runs experiments.train in this process."""
    return lambda *arguments: call(train.main, *arguments)


@pytest.fixture(scope="session")
def call_evaluate():
    """Function of flags that runs experiments.evaluate in this process."""
    return lambda *arguments: call(evaluate.main, *arguments)


@pytest.fixture(scope="session")
def call_compare():
    """Function of arguments that runs experiments.compare in this process."""
    return lambda *arguments: call(compare.main, *arguments)


@pytest.fixture(scope="session")
def call_predict():
    """Function of arguments that runs experiments.predict in this process."""
    return lambda *arguments: call(predict.main, *arguments)


@pytest.fixture(scope="session")
def train_short():
    """Function of (folder, flags) that trains two short epochs on digits; returns the `Run`."""

    def run(folder, *arguments):
        call(train.main, *SHORT, f"--output_dir={folder}", *arguments)
        return Run(pathlib.Path(folder))

    return run


@pytest.fixture(scope="session")
def short_run(train_short, tmp_path_factory):
    """Two epochs on digits: what the changed runs are compared with. Read only."""
    return train_short(tmp_path_factory.mktemp("short") / "run")


@pytest.fixture(scope="session")
def digits_run(call_train, tmp_path_factory):
    """The digits preset with fewer epochs and layers, pictures included. Read only."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    call_train(
        f"--flagfile={DIGITS_PRESET}",
        *("--train_epochs=10", "--eval_epochs=3", "--warmup_epochs=1", "--depth=8"),
        f"--output_dir={folder}",
    )
    return Run(folder)


@pytest.fixture(scope="session")
def run_python():
    """Function that runs Python with arguments from the root; returns the finished process."""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
        )

    return run


@pytest.fixture(scope="session")
def real_digits():
    """scikit-learn's digits, scaled from 0..16 to 0..255: (uint8 [1797, 8, 8, 1], labels)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.round(digits.images * 255 / 16).astype("uint8")[..., None], digits.target


@pytest.fixture(scope="session")
def write_tfds(real_digits):
    """Function that prepares a small tfds data set of real digits, by tfds itself.

    `splits` maps names to slices of the digits; `config` and `image_shape` are tfds's own; every
    pixel is drawn `scale` pixels wide and high; `label` is the name of that feature; `names` are
    the class names by class id, where a digit has the id of its name if it is there.
    """
    import tensorflow_datasets as tfds

    images, labels = real_digits

    def write(
        root,
        name,
        splits,
        version="1.0.0",
        config=None,
        image_shape=None,
        scale=1,
        label="label",
        names=None,
    ):
        kind = {"names": names} if names else {"num_classes": 10}
        ids = [names.index(str(y)) if str(y) in (names or ()) else y for y in range(10)]
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=image_shape or (8 * scale, 8 * scale, 1)),
                label: tfds.features.ClassLabel(**kind),
            }
        )
        folder = pathlib.Path(root, name, *([config] if config else []), version)
        folder.mkdir(parents=True)
        identity = tfds.core.dataset_info.DatasetIdentity(
            name=name,
            version=tfds.core.Version(version),
            data_dir=str(folder),
            module_name="tests",
            config_name=config,
        )
        writer = tfds.core.SequentialWriter(
            tfds.core.DatasetInfo(builder=identity, features=features), max_examples_per_shard=2000
        )
        writer.initialize_splits(list(splits))
        for split, chosen in splits.items():
            drawn = images[chosen].repeat(scale, axis=1).repeat(scale, axis=2)
            examples = zip(drawn, labels[chosen].tolist(), strict=True)
            writer.add_examples({split: [{"image": i, label: ids[y]} for i, y in examples]})
        writer.close_all()
        return folder

    return write
