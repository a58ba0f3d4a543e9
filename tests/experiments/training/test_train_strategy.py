"""`--strategy=mirrored` on two devices, which only a process of its own can have."""

import json

import pytest
import tensorflow as tf

from experiments.cli import UserError
from experiments.training import machine
from tests.experiments.cases import SHORT, Run

# TensorFlow splits the CPU in two only before it is first used.
TWO_DEVICES = """
import sys

import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
distribute = tf.distribute.MirroredStrategy
tf.distribute.MirroredStrategy = lambda: distribute(["CPU:0", "CPU:1"])

from experiments import cli, train

for arguments in ARGUMENTS:
    try:
        with flagsaver.flagsaver():
            flags.FLAGS(["train", *arguments])
            train.main(["train"])
    except cli.UserError as error:
        print("refused:", error)
"""


@pytest.fixture(scope="module")
def runs(train_short, run_python, tmp_path_factory):
    """The same run on one device and on two, and what the second printed."""
    folder = tmp_path_factory.mktemp("mirrored")
    rate = "--learning_rate=0.01"
    one = train_short(folder / "one", rate)
    mirrored = [*SHORT, rate, "--strategy=mirrored", f"--output_dir={folder / 'two'}"]
    uneven = [*SHORT, "--batch_size=341", "--strategy=mirrored", f"--output_dir={folder / '3'}"]
    done = run_python("-c", TWO_DEVICES.replace("ARGUMENTS", json.dumps([mirrored, uneven])))
    assert done.returncode == 0, done.stderr
    return one, Run(folder / "two"), done.stdout


@pytest.mark.slow
def test_both_devices_are_used_and_named(runs):
    assert "mirrored over 2 device(s)" in runs[2]
    assert "CPU:0" in runs[2]
    assert "CPU:1" in runs[2]


@pytest.mark.slow
def test_two_devices_train_as_one_does(runs):
    one, two, _ = runs
    assert two.config["class_counts"] == one.config["class_counts"]
    # Not equal: each device normalises its half of the batch by that half's own statistics.
    assert two.column("loss") == pytest.approx(one.column("loss"), rel=0.1)
    assert two.column("val_loss") == pytest.approx(one.column("val_loss"), rel=0.1)
    assert two.column("learning_rate") == one.column("learning_rate")
    assert sum(map(sum, two.metrics["confusion_matrix"])) == 500


@pytest.mark.slow
def test_the_figures_of_two_devices_are_those_of_the_last_evaluation(runs):
    two = runs[1]
    assert two.metrics["accuracy"] == pytest.approx(two.column("val_accuracy")[-1], abs=1e-6)


@pytest.mark.slow
def test_a_last_batch_too_small_for_the_devices_is_refused(runs):
    assert "refused: --batch_size=341 leaves a last batch of 1 images for 2 devices" in runs[2]


def test_a_batch_must_hold_an_image_for_each_device(monkeypatch):
    class Four:
        num_replicas_in_sync = 4

        class extended:  # noqa: N801
            worker_devices = ("a", "b", "c", "d")

    monkeypatch.setattr(tf.distribute, "MirroredStrategy", Four)
    for batch_size in (1, 3):
        with pytest.raises(UserError, match="choose one that leaves at least one image for each"):
            machine.strategy("mirrored", batch_size, 12)
    assert isinstance(machine.strategy("mirrored", 4, 12), Four)
    assert not isinstance(machine.strategy("none", 1, 12), Four)
