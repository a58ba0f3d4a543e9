"""A run that was stopped and continued is the run that was never stopped."""

import csv
import json
import shutil

import numpy as np
import pytest

from experiments import saved_model
from experiments.checkpoint import Checkpoint
from experiments.cli import UserError
from experiments.history import HistoryWriter
from tests.experiments.test_record import contents

FOUR = ("--train_epochs=4", "--eval_epochs=2")
TIMES = ("images_per_second", "train_seconds")


@pytest.fixture(scope="module")
def whole(train_short, tmp_path_factory):
    """Four epochs in one go. Read only."""
    return train_short(tmp_path_factory.mktemp("whole") / "run", *FOUR)


def stop_after(epoch, monkeypatch):
    """Makes the trainer end with Ctrl-C in the callbacks at the end of an epoch."""
    original = HistoryWriter.on_epoch_end

    def on_epoch_end(self, done, logs=None):
        original(self, done, logs)
        if done + 1 == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(HistoryWriter, "on_epoch_end", on_epoch_end)


@pytest.fixture
def stopped(train_short, tmp_path):
    """The same four epochs, stopped in epoch 3, after the checkpoint of epoch 2."""
    with pytest.MonkeyPatch.context() as patch:
        stop_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            train_short(tmp_path / "run", *FOUR)
    return tmp_path / "run"


def test_a_continued_run_is_the_uninterrupted_one(whole, stopped, train_short, capsys):
    with open(stopped / "history.csv") as file:
        assert len(list(csv.DictReader(file))) == 3
    capsys.readouterr()
    run = train_short(stopped, *FOUR, "--resume")
    printed = capsys.readouterr().out
    assert "continuing after epoch 2 of 4" in printed
    assert "epoch 3/4" in printed
    assert "epoch 2/4" not in printed

    def rows(run):
        return [{k: v for k, v in row.items() if k not in TIMES} for row in run.history]

    assert rows(run) == rows(whole)  # epoch 3 once, though it was trained twice
    for value, expected in zip(run.variables, whole.variables, strict=True):
        np.testing.assert_array_equal(value, expected)  # to the last bit
    for name in set(run.metrics) - set(TIMES):
        assert run.metrics[name] == whole.metrics[name]
    assert (np.diff(run.column("train_seconds")) > 0).all()


def test_a_run_stopped_before_its_first_checkpoint_starts_anew(whole, train_short, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        stop_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            train_short(tmp_path / "run", *FOUR)
    run = train_short(tmp_path / "run", *FOUR, "--resume")
    assert run.column("loss") == whole.column("loss")


def test_a_run_stopped_between_training_and_figures_needs_only_the_figures(
    whole, train_short, tmp_path, monkeypatch
):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saved_model, "export", stop)
        with pytest.raises(KeyboardInterrupt):
            train_short(tmp_path / "run", *FOUR)
    monkeypatch.setattr(Checkpoint, "on_epoch_end", lambda *_: pytest.fail("trained again"))
    run = train_short(tmp_path / "run", *FOUR, "--resume")
    for name in set(run.metrics) - set(TIMES):
        assert run.metrics[name] == whole.metrics[name]
    assert len(run.history) == 4


def test_a_stopped_run_is_not_overwritten_without_resume(stopped, train_short):
    before = contents(stopped)
    with pytest.raises(UserError, match="add --resume"):
        train_short(stopped, *FOUR)
    assert contents(stopped) == before


def test_figures_that_are_not_ours_are_not_printed(whole, train_short, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole.folder, run)
    (run / "metrics.json").write_text('{"accuracy": 1.0}')
    with pytest.raises(
        UserError, match=r"is no finished run of experiments.train \(metrics.json: `balanced_acc"
    ):
        train_short(run, *FOUR, "--resume")
    (run / "metrics.json").unlink()  # as the message says
    train_short(run, *FOUR, "--resume")
    again = json.loads((run / "metrics.json").read_text())
    for name in set(again) - set(TIMES):
        assert again[name] == whole.metrics[name]


def test_a_finished_run_is_printed_and_no_file_changes(whole, train_short, capsys):
    before = contents(whole.folder)
    train_short(whole.folder, *FOUR, "--resume")
    printed = capsys.readouterr().out
    assert "is complete" in printed
    assert f"{whole.metrics['accuracy']:.4f}" in printed
    assert contents(whole.folder) == before
    with pytest.raises(UserError, match="already holds this run"):
        train_short(whole.folder, *FOUR)
    assert contents(whole.folder) == before


def test_a_run_with_other_flags_is_refused_by_name_and_nothing_changes(whole, train_short):
    before = contents(whole.folder)
    with pytest.raises(UserError) as caught:
        train_short(whole.folder, *FOUR, "--resume", "--momentum=0.8", "--seed=1")
    assert "--momentum is 0.9 there, 0.8 here" in str(caught.value)
    assert "--seed is 0 there, 1 here" in str(caught.value)
    assert contents(whole.folder) == before


def damage(file):
    """Flips one byte in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_continues_to_the_same_end(
    whole, train_short, tmp_path, capsys
):
    every_epoch = (*FOUR, "--eval_epochs=1")
    with pytest.MonkeyPatch.context() as patch:
        stop_after(4, patch)  # its checkpoints: after epochs 2 and 3
        with pytest.raises(KeyboardInterrupt):
            train_short(tmp_path / "run", *every_epoch)
    damage(tmp_path / "run" / "checkpoint" / "state.npz")
    run = train_short(tmp_path / "run", *every_epoch, "--resume")
    printed = capsys.readouterr().out
    assert "state.npz is damaged" in printed
    assert "continuing after epoch 2 of 4" in printed
    for value, expected in zip(run.variables, whole.variables, strict=True):
        np.testing.assert_array_equal(value, expected)
    assert run.column("loss") == whole.column("loss")


def test_a_damaged_checkpoint_without_another_is_refused_with_the_remedy(stopped, train_short):
    damage(stopped / "checkpoint" / "state.npz")
    with pytest.raises(UserError, match=r"is damaged .*delete .* to start anew"):
        train_short(stopped, *FOUR, "--resume")
    assert not (stopped / "metrics.json").exists()


def test_the_checkpoint_of_another_model_is_refused(stopped, short_run, train_short, tmp_path):
    other = train_short(tmp_path / "other", "--depth=14", "--train_epochs=1", "--warmup_epochs=0")
    shutil.copy(other.folder / "checkpoint" / "state.npz", stopped / "checkpoint")
    with pytest.raises(UserError, match="the variables of another model"):
        train_short(stopped, *FOUR, "--resume")
