"""A run that was stopped and continued is the run that was never stopped."""

import csv
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from experiments import exports
from experiments.cli import UserError
from experiments.runs.figures import accuracy
from experiments.training import protocol
from experiments.training.checkpoint import Checkpoint
from tests import HANG_SECONDS
from tests.experiments.cases import ROOT, SHORT, contents
from tests.experiments.training.cases import stopped_after

FOUR = ("--train_epochs=4", "--eval_epochs=2")
TINY = {"train": slice(0, 120), "test": slice(700, 730)}
TIMES = ("images_per_second", "train_seconds")


@pytest.fixture(scope="module")
def whole(train_tiny, tmp_path_factory):
    """Four epochs in one go. Read only."""
    return train_tiny(tmp_path_factory.mktemp("whole") / "run", *FOUR)


@pytest.fixture(scope="module")
def stopped_once(train_tiny, tmp_path_factory):
    """The same four epochs, stopped in epoch 3, after the checkpoint of epoch 2. Read only."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    stopped_after(3, train_tiny, folder, *FOUR)
    return folder


@pytest.fixture
def stopped(stopped_once, tmp_path):
    """A copy of the stopped run that a test may continue."""
    return shutil.copytree(stopped_once, tmp_path / "run")


def test_an_interrupt_says_which_epoch_is_saved_and_how_to_go_on(stopped, train_tiny, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    def told(*given):
        monkeypatch.setattr(sys, "argv", ["train.py", *given])
        with pytest.raises(KeyboardInterrupt) as caught:
            train_tiny(stopped, *FOUR, "--resume")
        return str(caught.value).splitlines()

    monkeypatch.setattr(protocol, "train", interrupt)
    words, command = told("--output_dir=a folder", "--noresume")
    assert words == f"epoch 2 of 4 is saved in {stopped}; go on with"
    program = ["python", "-m", "experiments.train"]
    assert shlex.split(command) == [*program, "--output_dir=a folder", "--resume"]
    assert told("--output_dir=a folder", "--resume")[1] == command
    (stopped / "checkpoint" / "state.npz").write_bytes(b"half")
    assert "can't be read, the one before it is tried; go on with" in told()[0]
    shutil.rmtree(stopped / "checkpoint")
    assert told()[0] == "no epoch of 4 is saved yet; go on with"


@pytest.mark.slow
def test_the_command_that_an_interrupted_training_tells_goes_on(tmp_path):
    folder = tmp_path / "a run"
    flags = [*SHORT, "--train_epochs=200", "--eval_epochs=2", f"--output_dir={folder}"]
    command = [sys.executable, "-m", "experiments.train", *flags]
    # A job in the background of a shell ignores the signal, and so would what it starts.
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    training = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, **heard)
    while not (folder / "checkpoint" / "state.npz").exists():
        assert training.poll() is None
        time.sleep(0.1)
    training.send_signal(signal.SIGINT)
    _, error = training.communicate(timeout=HANG_SECONDS)
    assert training.returncode == 130
    interrupted, told = error.strip().splitlines()[-2:]
    epoch = int(re.match(r"interrupted: epoch (\d+) of 200 is saved in ", interrupted)[1])
    python, *arguments = shlex.split(told)
    assert python == "python"
    again = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, **heard
    )
    lines = iter(again.stdout.readline, "")
    assert any(line.startswith(f"continuing after epoch {epoch} of 200") for line in lines)
    again.send_signal(signal.SIGTERM)  # means the same
    again.communicate(timeout=HANG_SECONDS)
    assert again.returncode == 130


def test_a_continued_run_is_the_uninterrupted_one(whole, stopped, train_tiny, capsys):
    with open(stopped / "history.csv") as file:
        assert len(list(csv.DictReader(file))) == 3
    capsys.readouterr()
    run = train_tiny(stopped, *FOUR, "--resume")
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


def test_a_run_stopped_between_training_and_figures_needs_only_the_figures(
    whole, train_tiny, tmp_path, monkeypatch
):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(exports.EXPORTS, "saved_model", stop)
        with pytest.raises(KeyboardInterrupt):
            train_tiny(tmp_path / "run", *FOUR)
    monkeypatch.setattr(Checkpoint, "on_epoch_end", lambda *_: pytest.fail("trained again"))
    run = train_tiny(tmp_path / "run", *FOUR, "--resume")
    for name in set(run.metrics) - set(TIMES):
        assert run.metrics[name] == whole.metrics[name]
    assert len(run.history) == 4


def test_a_stopped_run_is_not_overwritten_without_resume(stopped, train_tiny):
    before = contents(stopped)
    with pytest.raises(UserError, match="add --resume"):
        train_tiny(stopped, *FOUR)
    assert contents(stopped) == before


def test_figures_that_are_not_ours_are_not_printed(whole, train_tiny, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole.folder, run)
    (run / "metrics.json").write_text('{"accuracy": 1.0}')
    with pytest.raises(
        UserError, match=r"is not a finished run of experiments.train \(metrics.json: `balanced_acc"
    ):
        train_tiny(run, *FOUR, "--resume")
    (run / "metrics.json").unlink()  # as the message says
    train_tiny(run, *FOUR, "--resume")
    again = json.loads((run / "metrics.json").read_text())
    for name in set(again) - set(TIMES):
        assert again[name] == whole.metrics[name]


def test_a_finished_run_is_printed_and_no_file_changes(whole, train_tiny, capsys):
    before = contents(whole.folder)
    train_tiny(whole.folder, *FOUR, "--resume")
    printed = capsys.readouterr().out
    assert "is complete" in printed
    assert accuracy(whole.metrics["accuracy"]) in printed
    assert contents(whole.folder) == before
    with pytest.raises(UserError, match="already holds this run"):
        train_tiny(whole.folder, *FOUR)
    assert contents(whole.folder) == before


def test_a_run_with_other_flags_is_refused_by_name_and_nothing_changes(whole, train_tiny):
    before = contents(whole.folder)
    with pytest.raises(UserError) as caught:
        train_tiny(whole.folder, *FOUR, "--resume", "--momentum=0.8", "--seed=1")
    assert "--momentum is 0.9 there, 0.8 here" in str(caught.value)
    assert "--seed is 0 there, 1 here" in str(caught.value)
    assert contents(whole.folder) == before


@pytest.fixture
def on_tiny(train_tiny, write_tfds, tmp_path):
    """Function of flags that trains on `tiny` 1.0.0, or goes on; the first time it is stopped."""
    write_tfds(tmp_path, "tiny", TINY)
    own = ("--train_epochs=3", "--dataset=tfds:tiny", f"--data_dir={tmp_path}")
    stopped_after(2, train_tiny, tmp_path / "run", *own)  # after the checkpoint of epoch 1
    return lambda *arguments: train_tiny(tmp_path / "run", *own, "--resume", *arguments)


@pytest.mark.slow
def test_a_run_is_not_continued_on_a_newer_version_of_its_data_and_nothing_changes(
    on_tiny, write_tfds, tmp_path, capsys
):
    write_tfds(tmp_path, "tiny", TINY, "1.1.0", names=list("1234567890"))
    before = contents(tmp_path / "run")
    with pytest.raises(UserError) as caught:
        on_tiny()
    assert "the data set is tfds:tiny:1.0.0 there, tfds:tiny:1.1.0 here" in str(caught.value)
    assert "class 0 is '0' there, '1' here" in str(caught.value)
    flags = f"--output_dir={tmp_path / 'run'} --dataset=tfds:tiny:1.0.0 --long_tail=natural"
    assert f"continue it with {flags}" in str(caught.value)
    assert contents(tmp_path / "run") == before

    run = on_tiny(*flags.split())
    assert "continuing after epoch 1 of 3" in capsys.readouterr().out
    assert run.config["data"]["name"] == "tfds:tiny:1.0.0"
    assert run.config["flags"]["dataset"] == "tfds:tiny"  # what it began with
    on_tiny()
    assert "is complete" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_that_did_not_record_its_data_is_held_to_its_classes_and_its_checkpoint(
    on_tiny, write_tfds, tmp_path
):
    config = tmp_path / "run" / "config.json"
    older = json.loads(config.read_text())
    del older["data"]
    config.write_text(json.dumps(older))

    def prepare(**changes):
        shutil.rmtree(tmp_path / "tiny")
        write_tfds(tmp_path, "tiny", **{"splits": TINY, **changes})

    prepare(names=list("1234567890"))
    with pytest.raises(UserError, match="class 0 is '0' there, '1' here"):
        on_tiny()
    prepare(splits={"train": slice(1, 121), "test": slice(700, 730)})  # the classes' sizes differ
    with pytest.raises(UserError, match=r"class 0 has \d+ training images there, \d+ here"):
        on_tiny()
    prepare(splits={**TINY, "test": slice(701, 731)})
    with pytest.raises(UserError, match="other labels of the test images"):  # by the checkpoint
        on_tiny()
    assert json.loads(config.read_text()) == older
    prepare()
    assert on_tiny().config["data"]["train"]["images"] == 120


def test_a_run_whose_checkpoint_was_lost_is_not_trained_over(
    stopped, train_tiny, only_train, whole, tmp_path
):
    shutil.rmtree(stopped / "checkpoint")
    finished = tmp_path / "finished"
    shutil.copytree(whole.folder, finished)
    shutil.rmtree(finished / "checkpoint")
    (finished / "metrics.json").unlink()
    for folder, trained in ((stopped, "3 epochs"), (finished, "4 epochs")):
        before = contents(folder)
        with pytest.raises(UserError) as caught:
            train_tiny(folder, *FOUR, "--resume")
        assert str(caught.value) == (
            f"--resume: {folder} has a history of {trained}, but {folder / 'checkpoint'} holds no "
            "state.npz to go on from: copy that folder here from where the run was trained, or "
            "delete history.csv and model.keras to train again from the first epoch."
        )
        assert contents(folder) == before
    for name in ("history.csv", "model.keras"):  # as the message says
        (finished / name).unlink()
    assert only_train(finished, *FOUR, "--resume").column("loss") == whole.column("loss")


@pytest.mark.slow
def test_a_run_killed_before_its_first_checkpoint_says_that_it_starts_again(
    train_tiny, only_train, whole, tmp_path, capsys
):
    # Its history is written; the checkpoint comes after that of epoch 2.
    stopped_after(2, train_tiny, tmp_path / "run", *FOUR)
    capsys.readouterr()
    run = only_train(tmp_path / "run", *FOUR, "--resume")
    line = f"no checkpoint in {run.folder}: starting again, 2 epochs of the history are trained"
    assert line in capsys.readouterr().out
    assert run.column("loss") == whole.column("loss")


@pytest.mark.parametrize("drawn", [True, False])
@pytest.mark.slow
def test_new_figures_never_stand_next_to_old_pictures(whole, train_tiny, tmp_path, drawn):
    run = tmp_path / "run"
    shutil.copytree(whole.folder, run)
    (run / "plots").mkdir()
    pictures = [run / "plots" / name for name in ("curves.png", "confusion_matrix.png")]
    for path in (*pictures, run / "plots" / "own.png"):
        path.write_bytes(b"old")
    train_tiny(run, *FOUR, "--resume", "--plots=true")  # complete: only what is absent is drawn
    assert all(path.read_bytes() == b"old" for path in pictures)
    (run / "metrics.json").unlink()
    train_tiny(run, *FOUR, "--resume", f"--plots={drawn}")
    for path in pictures:
        assert path.read_bytes().startswith(b"\x89PNG") if drawn else not path.exists()
    assert (run / "plots" / "own.png").read_bytes() == b"old"


def damage(file):
    """Flips one byte in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_continues_to_the_same_end(
    whole, train_tiny, tmp_path, capsys
):
    every_epoch = (*FOUR, "--eval_epochs=1")
    stopped_after(4, train_tiny, tmp_path / "run", *every_epoch)  # checkpoints of epochs 2 and 3
    damage(tmp_path / "run" / "checkpoint" / "state.npz")
    run = train_tiny(tmp_path / "run", *every_epoch, "--resume")
    printed = capsys.readouterr().out
    assert "state.npz is damaged" in printed
    assert "continuing after epoch 2 of 4" in printed
    for value, expected in zip(run.variables, whole.variables, strict=True):
        np.testing.assert_array_equal(value, expected)
    assert run.column("loss") == whole.column("loss")


def test_a_damaged_checkpoint_without_another_is_refused_with_the_remedy(stopped, train_tiny):
    damage(stopped / "checkpoint" / "state.npz")
    with pytest.raises(UserError, match=r"is damaged .*delete .* to start again"):
        train_tiny(stopped, *FOUR, "--resume")
    assert not (stopped / "metrics.json").exists()


@pytest.mark.slow
def test_the_checkpoint_of_another_model_is_refused(stopped, short_run, train_tiny):
    shutil.copy(short_run.folder / "checkpoint" / "state.npz", stopped / "checkpoint")
    with pytest.raises(UserError, match="the variables of another model"):
        train_tiny(stopped, *FOUR, "--resume")


@pytest.mark.slow  # as above, but with the network of the protocol
def test_a_continued_run_of_the_resnet_is_the_uninterrupted_one(train_short, tmp_path):
    whole = train_short(tmp_path / "whole", *FOUR)
    stopped_after(3, train_short, tmp_path / "run", *FOUR)
    run = train_short(tmp_path / "run", *FOUR, "--resume")
    for value, expected in zip(run.variables, whole.variables, strict=True):
        np.testing.assert_array_equal(value, expected)
    assert run.column("loss") == whole.column("loss")
