"""A folder of images of one's own: trained, exported, evaluated, continued."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from experiments.cli import UserError
from experiments.runs import naming
from tests.experiments.cases import Run

pytestmark = pytest.mark.slow

SHORT = (
    *("--depth=8", "--batch_size=64", "--plots=false", "--train_epochs=1", "--eval_epochs=1"),
    *("--warmup_epochs=0", "--image_size=8"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, real_digits):
    """The digits 0 to 3 in class folders, of two sizes and modes and 60, 30, 15 and 5 images."""
    root = tmp_path_factory.mktemp("folder") / "my digits"
    images, labels = real_digits
    for digit, number in enumerate((60, 30, 15, 5)):
        (root / f"digit {digit}").mkdir(parents=True)
        for i, image in enumerate(images[labels == digit][:number, :, :, 0]):
            scale = 1 + i % 2
            large = Image.fromarray(image.repeat(scale, axis=0).repeat(scale, axis=1))
            large.convert("RGB" if i % 3 else "L").save(root / f"digit {digit}" / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def run(folder, call_train):
    """A run of one epoch on the folder. Read only."""
    cache, out = folder.parent / "cache", folder.parent / "run"
    call_train(f"--dataset=folder:{folder}", *SHORT, f"--data_dir={cache}", f"--output_dir={out}")
    return Run(out)


def test_a_folder_is_trained_on_as_it_is_with_the_names_of_its_folders(run, folder):
    config = run.config
    assert config["class_names"] == [f"digit {digit}" for digit in range(4)]
    assert config["class_counts"] == [48, 24, 12, 4]
    assert config["flags"]["long_tail"] == "natural"
    assert config["flags"]["dataset"] == f"folder:{folder}"
    assert config["data"]["choices"] == {
        **{"image_size": [8, 8], "channels": 1, "test_fraction": 0.2, "split_seed": 0}
    }
    assert np.sum(run.metrics["confusion_matrix"], axis=1).tolist() == [12, 6, 3, 1]


def test_evaluate_gives_the_figures_of_the_run_from_the_files_alone(run, folder, call_evaluate):
    cache, output = folder.parent / "cache", folder.parent / "metrics.json"
    for dataset in ((), (f"--dataset=folder:{folder}",)):
        saved = f"--saved_model={run.folder / 'saved_model'}"
        call_evaluate(saved, *dataset, f"--data_dir={cache}", f"--output={output}")
        found = json.loads(output.read_text())
        for name in ("accuracy", "confusion_matrix", "loss"):
            assert found[name] == run.metrics[name]


def test_the_same_files_elsewhere_are_the_same_data(
    run, folder, call_train, call_evaluate, capsys, tmp_path
):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy / "digits")
    shutil.copytree(run.folder, copy / "run")
    (copy / "run" / "metrics.json").unlink()
    flags = (f"--dataset=folder:{copy / 'digits'}", f"--data_dir={tmp_path / 'cache'}")
    call_train(*flags, *SHORT, f"--output_dir={copy / 'run'}", "--resume")
    assert Run(copy / "run").metrics["confusion_matrix"] == run.metrics["confusion_matrix"]
    next((copy / "digits" / "digit 3").iterdir()).unlink()
    (copy / "run" / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"began with other data .* training images there"):
        call_train(*flags, *SHORT, f"--output_dir={copy / 'run'}", "--resume")
    other = copy / "other"
    with pytest.raises(UserError, match=r"--same_data_as: the run in .* images there"):
        call_train(*flags, *SHORT, f"--output_dir={other}", f"--same_data_as={run.folder}")
    assert not (other / "config.json").exists()
    with pytest.raises(UserError, match=r"--same_data_as=.* has no config\.json; give a run dir"):
        call_train(*flags, *SHORT, f"--output_dir={other}", f"--same_data_as={other}")


def test_another_long_tail_of_the_same_images_is_the_same_data(run, folder, call_train, tmp_path):
    cache, out = folder.parent / "cache", tmp_path / "run"
    same = (f"--dataset=folder:{folder}", f"--data_dir={cache}", f"--same_data_as={run.folder}")
    call_train(*same, *SHORT, "--imbalance_factor=0.5", f"--output_dir={out}")
    assert Run(out).config["class_counts"] != run.config["class_counts"]


def test_the_name_of_a_run_has_the_folder_without_those_it_is_in(run):
    name = naming.run_name(run.config["flags"])
    assert name.startswith("folder_my digits_natural_")
    assert "/" not in name


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--dataset=folder:/no/such/folder", "--dataset: /no/such/folder does not exist; name a"),
        (f"--dataset=folder:{__file__}", "is a file; name a folder that holds a folder of images"),
        ("--image_size=8x", "--image_size: it must be one side or HEIGHTxWIDTH, .*; got 8x"),
        ("--image_size=0", "--image_size: it must be one side"),
        ("--test_fraction=0", r"--test_fraction must be in \(0, 1\), such as 0.2; got 0"),
        ("--test_fraction=1", r"--test_fraction must be in \(0, 1\), such as 0.2; got 1"),
        ("--split_seed=-1", r"--split_seed must be in \[0, 2\^31\), got -1"),
        ("--dataset=digits", "--image_size=8 has no effect on --dataset=digits; it belongs to"),
    ],
)
def test_a_wrong_flag_of_a_folder_is_refused_before_anything_is_read(
    call_train, folder, tmp_path, flag, words
):
    with pytest.raises(UserError, match=words):
        call_train(f"--dataset=folder:{folder}", *SHORT, f"--output_dir={tmp_path / 'run'}", flag)
    assert not (tmp_path / "run").exists()
