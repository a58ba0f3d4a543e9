"""The names of the networks: what they mean, and what is refused before any data are read."""

import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import backbones
from experiments.backbones import applications
from experiments.cli import UserError
from experiments.runs.naming import run_name
from experiments.sweeps import grid
from experiments.sweeps.tables import grid as grid_table
from experiments.training.settings import checked_settings


def settings(*arguments):
    with flagsaver.flagsaver():
        flags.FLAGS(["train", *map(str, arguments)])
        return checked_settings()


@pytest.mark.parametrize(
    ("arguments", "backbone", "depth"),
    [
        ([], "resnet", 32),
        (["--depth=8"], "resnet", 8),
        (["--backbone=resnet8"], "resnet", 8),
        (["--backbone=resnet8", "--depth=8"], "resnet", 8),
        (["--backbone=resnet", "--depth=110"], "resnet", 110),
        (["--depth=50"], "resnet", 50),
        (["--backbone=ResNet50"], "ResNet50", 32),
        (["--backbone=resnet50v2"], "ResNet50V2", 32),
        (["--backbone=MOBILENETv3small"], "MobileNetV3Small", 32),
    ],
)
def test_each_network_has_one_name_however_it_is_given(arguments, backbone, depth):
    found = settings(*arguments)
    assert (found["backbone"], found["depth"]) == (backbone, depth)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbone=resnet14", "--depth=8"], "--backbone=resnet14 and --depth=8 contradict"),
        (["--backbone=resnet9"], "`depth` must be 6n + 2"),
        (["--backbone=MobileNetV2", "--depth=8"], "--depth=8 has no effect on --backbone=MobileN"),
        (["--backbone=resnet50"], "ResNet50 is the network of keras.applications; --depth=50 is t"),
        (["--backbone=resnet101"], "ResNet101 is the network of keras.applications. Give the one"),
        (["--backbone=mobilnet_v2"], "did you mean MobileNetV2"),
        (["--backbone=vit"], "is unknown; "),
        (["--backbone="], "--backbone= is unknown"),
        (["--backbone=Xception", "--dataset=folder:.", "--image_size=70x80"], "71x71 pixels at l"),
        (["--backbone_weights=imagenet"], "nothing is downloaded here."),
        (["--backbone_weights=there.h5"], "there.h5 is not a file"),
        (["--backbone_weights=there.npz"], "must be a file .weights.h5, .h5, .keras"),
        (["--backbone_weights="], "--backbone_weights is empty"),
        (["--freeze_epochs=-1"], "--freeze_epochs must be in [0, 200]"),
        (["--freeze_epochs=9", "--train_epochs=8"], "must be in [0, 8], the epochs of --train_e"),
    ],
)
def test_what_can_be_mistaken_or_is_not_there_is_refused_in_words(arguments, message):
    with pytest.raises(UserError) as caught:
        settings(*arguments)
    assert message in str(caught.value)


def test_names_of_the_runs_tell_the_networks_of_keras_and_stay_for_the_others():
    plain = "cifar10_factor0.02_softmax_power1_beta0.9999_epochs200_seed0"
    assert run_name(settings()) == run_name(settings("--backbone=resnet8")) == plain
    of_keras = run_name(settings("--backbone=vgg16"))
    assert of_keras == plain.replace("_softmax", "_VGG16_softmax")
    older = {k: v for k, v in settings().items() if k not in backbones.OLDER}
    assert run_name(older) == plain


@pytest.mark.parametrize("name", ["InceptionResNetV2", "InceptionV3", "Xception", "MobileNetV2"])
def test_images_that_are_too_small_are_refused_at_the_size_at_which_keras_refuses_them(name):
    from keras import applications as networks

    smallest = applications._SMALLEST.get(name, 32)
    applications.check_images(name, (smallest, smallest, 3))
    with pytest.raises(UserError, match=rf"takes images of {smallest}x{smallest} pixels at least"):
        applications.check_images(name, (smallest, smallest - 1, 1))
    shape = (smallest, smallest - 1, 3)
    with pytest.raises(ValueError, match=rf"at least {smallest}x{smallest}"):
        getattr(networks, name)(include_top=False, weights=None, input_shape=shape)


def test_images_of_two_channels_are_refused():
    with pytest.raises(UserError, match="one channel or three, and these have 2"):
        applications.check_images("MobileNetV2", (32, 32, 2))


def test_small_images_are_refused_by_the_training_before_it_begins(train_short, tmp_path):
    with pytest.raises(UserError, match="32x32 pixels at least, and these are 8x8"):
        train_short(tmp_path / "run", "--backbone=MobileNetV2", "--depth=32")
    assert not (tmp_path / "run").exists()


def test_a_grid_varies_the_network_and_its_cells_have_the_depth_where_it_has_an_effect():
    axes = grid.axes("backbone=resnet,vgg16;loss=focal")
    assert axes == {"backbone": ("resnet", "VGG16"), "loss": ("focal",)}
    cells = list(grid_table.table(axes).cells({"dataset": "digits", "depth": 8}, {}))
    assert cells[0] == ("resnet", "loss focal", {"backbone": "resnet", "loss": "focal"})
    assert cells[1][2] == {"backbone": "VGG16", "loss": "focal", "depth": 32}
    with pytest.raises(UserError, match="write backbone=resnet and give --depth=8"):
        grid.axes("backbone=resnet8,VGG16")
