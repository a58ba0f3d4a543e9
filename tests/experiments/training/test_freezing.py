"""A trunk that is frozen for the first epochs, by the variables of the checkpoints."""

import itertools

import numpy as np
import pytest

from experiments.training import protocol
from experiments.training.checkpoint import Checkpoint
from tests.experiments.training.cases import stopped_after

pytestmark = pytest.mark.slow

FOUR = ("--train_epochs=4", "--freeze_epochs=2", "--eval_epochs=1")
TRUNK = 5  # variables of the tiny network before its last layer: a kernel, and four of the norm


@pytest.fixture(scope="module")
def whole(only_train, tmp_path_factory):
    """The run, and its variables after each epoch. Read only."""
    states = []

    def note(self, epoch, logs=None):
        original(self, epoch, logs)
        states.append([v.numpy() for v in self.model.variables])

    original = Checkpoint.on_epoch_end
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "on_epoch_end", note)
        run = only_train(tmp_path_factory.mktemp("frozen") / "run", *FOUR)
    return run, states


def test_nothing_in_the_trunk_changes_while_it_is_frozen_and_all_of_it_later(whole):
    _, states = whole
    for i in range(TRUNK):
        assert np.array_equal(states[0][i], states[1][i])
        assert not np.array_equal(states[1][i], states[2][i])
        assert not np.array_equal(states[2][i], states[3][i])
    moving_mean, moving_variance = states[1][3:TRUNK]
    assert (moving_mean == 0).all()  # as they began
    assert (moving_variance == 1).all()
    for one, next_one in itertools.pairwise(states):
        assert not np.array_equal(one[TRUNK], next_one[TRUNK])  # the last layer


@pytest.mark.parametrize("epoch", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_run_continued_from_a_frozen_epoch_or_the_last_of_them_is_the_same(
    epoch, whole, only_train, train_tiny, tmp_path
):
    run, _ = whole
    stopped_after(epoch, train_tiny, tmp_path / "run", *FOUR)
    continued = only_train(tmp_path / "run", *FOUR, "--resume")
    for value, expected in zip(continued.variables, run.variables, strict=True):
        np.testing.assert_array_equal(value, expected)
    assert continued.column("loss") == run.column("loss")


def test_a_frozen_trunk_of_random_weights_is_told(capsys):
    said = []
    for weights in (None, "a.keras"):
        settings = {"freeze_epochs": 2, "backbone_weights": weights, "backbone": "resnet"}
        protocol._print_network(settings, (8, 8, 1))
        said.append("without --backbone_weights: what a frozen" in capsys.readouterr().out)
    assert said == [True, False]
