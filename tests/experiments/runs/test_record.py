"""The run directory: who may write into it, and that files are written whole or not at all."""

import csv
import errno
import json
import os
import pathlib
import stat
import subprocess
import sys

import pytest

from experiments import datasets
from experiments.cli import UserError
from experiments.runs import atomic, directory, outputs
from experiments.runs.lock import Lock
from tests import HANG_SECONDS
from tests.experiments.cases import contents
from tests.experiments.report_folders import write_run

FLAGS = {"loss": "focal", "lr_boundaries": [0.8, 0.9], "balanced_lr_decay": None, "seed": 0}


def refusal(folder, flags=None, resume=False):
    with pytest.raises(UserError) as caught:
        directory.open_run(folder, flags or FLAGS, resume)
    return str(caught.value)


def begun(folder):
    """A run that has written its configuration."""
    run = directory.open_run(folder, FLAGS, resume=False)
    run.write_json("config.json", {"flags": FLAGS})
    return run


# Opening


def test_a_new_folder_is_made_with_its_parents(tmp_path):
    folder = tmp_path / "a" / "b"
    assert directory.open_run(folder, FLAGS, resume=False).folder == folder
    assert list(folder.iterdir()) == []  # no trace of the check that it can be written


def test_an_empty_folder_is_taken(tmp_path):
    directory.open_run(tmp_path, FLAGS, resume=False)


def test_a_folder_with_other_things_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("dear")
    before = contents(tmp_path)
    assert "is not empty and holds no run" in refusal(tmp_path)
    assert "is not empty and holds no run" in refusal(tmp_path, resume=True)
    assert contents(tmp_path) == before


def test_a_begun_run_is_continued_only_with_resume(tmp_path):
    begun(tmp_path)
    before = contents(tmp_path)
    assert "add --resume to continue it" in refusal(tmp_path)
    assert contents(tmp_path) == before
    directory.open_run(tmp_path, FLAGS, resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_another_configuration_is_refused_with_every_flag_that_differs(tmp_path, resume):
    begun(tmp_path)
    other = {**FLAGS, "loss": "softmax", "lr_boundaries": [0.5]}
    message = refusal(tmp_path, other, resume)
    assert "--loss is focal there, softmax here" in message
    assert "--lr_boundaries is [0.8, 0.9] there, [0.5] here" in message
    assert "--seed" not in message
    assert str(tmp_path) in message


def test_a_flag_that_the_older_run_does_not_know_is_a_difference(tmp_path):
    begun(tmp_path)
    message = refusal(tmp_path, {**FLAGS, "fused_op": "on"}, resume=True)
    assert "--fused_op is None there, on here" in message


def test_a_flag_that_the_older_run_does_not_know_had_its_default_there(tmp_path):
    begun(tmp_path)
    defaults = {"fused_op": "auto"}
    directory.open_run(tmp_path, {**FLAGS, "fused_op": "auto"}, resume=True, defaults=defaults)
    with pytest.raises(UserError, match="--fused_op is auto there, on here"):
        directory.open_run(tmp_path, {**FLAGS, "fused_op": "on"}, resume=True, defaults=defaults)


def test_resume_where_nothing_was_begun_starts_a_new_run_and_says_so(tmp_path, capsys):
    directory.open_run(tmp_path / "new", FLAGS, resume=True)
    assert "nothing to continue" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", '{"flags": {"loss"', "not json"])
def test_a_damaged_configuration_is_refused_by_the_name_of_the_file(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    assert str(tmp_path / "config.json") in refusal(tmp_path, resume=True)


@pytest.mark.parametrize("text", ["[]", '"text"', '{"flags": []}', '{"model_type": "bert"}'])
def test_a_configuration_of_another_program_is_not_a_run_of_ours(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    assert "choose another folder" in refusal(tmp_path, resume=True)


def test_a_folder_that_can_not_be_made_is_found_before_data_is_loaded(
    tmp_path, call_train, monkeypatch
):
    monkeypatch.setattr(datasets, "load", lambda *_: pytest.fail("data was loaded"))
    (tmp_path / "file").write_text("I am no folder")
    with pytest.raises(UserError, match="can't be written"):
        call_train("--dataset=digits", f"--output_dir={tmp_path / 'file' / 'run'}")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("I am no folder")
    assert "can't be written" in refusal(tmp_path / "file")


def test_what_a_killed_process_was_writing_is_no_run_and_is_removed(tmp_path):
    (tmp_path / ".unfinished-abc.json").write_text("{")
    directory.open_run(tmp_path, FLAGS, resume=True)
    assert list(tmp_path.iterdir()) == []


def test_what_a_run_inside_of_another_is_writing_is_left_alone(tmp_path):
    ours = [tmp_path / name / ".unfinished-a" for name in ("checkpoint", "saved_model.tmp")]
    theirs = [tmp_path / "inner" / ".unfinished-b", tmp_path / "inner/checkpoint/.unfinished-c"]
    for path in (*ours, *theirs):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{")
    (tmp_path / "config.json").write_text(json.dumps({"flags": FLAGS}))
    with directory.open_run(tmp_path / "inner" / "checkpoint", FLAGS, resume=True):
        directory.open_run(tmp_path, FLAGS, resume=True)
    assert [path.exists() for path in (*ours, *theirs)] == [False, False, True, False]


def test_a_folder_is_opened_by_one_process_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(Lock, "__init__", impatient(Lock.__init__))
    with directory.open_run(tmp_path, FLAGS, resume=False):
        assert "another process is at work" in refusal(tmp_path, resume=True)
    directory.open_run(tmp_path, FLAGS, resume=True)  # released, and the refusal left no lock


def test_the_lock_of_a_killed_process_is_gone_with_it(tmp_path):
    code = (
        "import sys, time; from experiments.runs.lock import Lock; "
        f"lock = Lock({str(tmp_path)!r}); print('locked', flush=True); "
        f"time.sleep({HANG_SECONDS})"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(UserError, match="another process is at work"):
            Lock(tmp_path, patience=0.1)
        process.kill()
    Lock(tmp_path)


def impatient(original):
    return lambda self, folder: original(self, folder, patience=0.1)


@pytest.mark.parametrize("name", ["model.keras", "history.csv"])
def test_a_folder_in_place_of_a_file_of_the_run_is_refused_at_the_start(tmp_path, name):
    begin(tmp_path)
    (tmp_path / name).mkdir()
    message = refusal(tmp_path, resume=True)
    assert f"{tmp_path / name} is a folder; a run puts its own there" in message


def test_a_file_in_place_of_a_folder_of_the_run_is_refused_at_the_start(tmp_path):
    begin(tmp_path)
    (tmp_path / "saved_model").write_text("")
    assert "saved_model is not a folder; a run puts its own there" in refusal(tmp_path, resume=True)


def test_a_folder_of_the_run_that_can_not_be_written_is_refused_at_the_start(tmp_path, monkeypatch):
    begin(tmp_path)
    (tmp_path / "saved_model" / "assets").mkdir(parents=True)
    make = outputs.tempfile.TemporaryFile

    def refuse(dir):
        if dir.name == "assets":
            raise PermissionError(errno.EACCES, "Permission denied")
        return make(dir=dir)

    monkeypatch.setattr(outputs.tempfile, "TemporaryFile", refuse)
    message = refusal(tmp_path, resume=True)
    assert "saved_model/assets can't be written (Permission denied)" in message


def begin(folder):
    with directory.open_run(folder, FLAGS, resume=False) as run:
        run.write_json("config.json", {"flags": FLAGS})


# Files


def test_the_history_has_one_line_an_epoch_and_empty_fields_where_nothing_was_measured(tmp_path):
    run = directory.open_run(tmp_path, FLAGS, resume=False)
    run.add_epoch({"epoch": 1, "loss": 2.5, "images_per_second": None})
    run.add_epoch({"epoch": 2, "loss": 1.5, "val_loss": 3.0})
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(directory.HISTORY_COLUMNS)
    assert [row["loss"] for row in rows] == ["2.5", "1.5"]
    assert [row["val_loss"] for row in rows] == ["", "3.0"]
    assert rows[0]["images_per_second"] == ""


def test_settings_are_read_back_as_written_and_an_absent_file_is_none(tmp_path):
    run = directory.RunDirectory(tmp_path)
    assert directory.read_config(tmp_path) is None
    begun = {"flags": {"few": None}, "counts": [1, 2], "of_a_later_version": True}
    run.write_json("config.json", begun)
    assert directory.read_config(tmp_path) == begun


def test_json_never_holds_nan_which_is_no_json(tmp_path):
    run = directory.RunDirectory(tmp_path)
    run.write_json("metrics.json", {"loss": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.write_json("metrics.json", {"loss": float("nan")})
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"loss": 1.0}


def test_a_finished_run_is_read_and_others_are_refused(tmp_path):
    config, metrics = directory.read_finished(write_run(tmp_path / "run"))
    assert (config["class_counts"], metrics["few_accuracy"]) == ([1000, 100, 10], 0.3)
    with pytest.raises(UserError, match=r"holds no finished run \(no config.json\)"):
        directory.read_finished(tmp_path)
    with pytest.raises(UserError, match=r"holds no finished run \(no metrics.json\)"):
        directory.read_finished(write_run(tmp_path / "begun", recalls=None))


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("metrics.json", "null", "metrics.json was not written by"),
        ("metrics.json", "{}", "`accuracy` is missing"),
        ("metrics.json", '{"accuracy": "0.5"}', "`accuracy` is missing or not 0 to 1"),
        ("config.json", '{"flags": {}}', "`flags.loss` is missing"),
    ],
)
def test_a_run_that_is_not_ours_is_refused_with_the_remedy(tmp_path, name, text, problem):
    folder = write_run(tmp_path / "run")
    (folder / name).write_text(text)
    with pytest.raises(UserError, match=rf"{folder} is not a finished run.*{problem}.*--resume"):
        directory.read_finished(folder)


@pytest.mark.parametrize("name", ["pipe", "null"])
def test_an_output_that_is_no_file_is_refused_and_left(tmp_path, name):
    path = pathlib.Path(os.devnull) if name == "null" else tmp_path / name
    if name == "pipe":
        os.mkfifo(path)
    assert outputs.output_problem(path) == f"--output={path} is a device or a pipe; name a file."
    assert not path.is_file()


def test_an_output_that_is_a_link_is_written_where_it_points_to(tmp_path):
    (tmp_path / "far").mkdir()
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "far" / "figures.json")
    assert outputs.output_problem(link) is None
    outputs.write_output(link, b"content")
    assert link.is_symlink()
    assert (tmp_path / "far" / "figures.json").read_bytes() == b"content"


def test_a_tree_is_synced_file_by_file_and_folder_by_folder(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("x")
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    atomic.sync_tree(tmp_path)
    expected = [tmp_path, tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "file"]
    assert sorted(synced) == sorted(map(str, expected))


@pytest.mark.parametrize("step", ["fsync", "replace", "chmod"])
def test_a_write_that_fails_leaves_the_old_content_and_no_temporary_file(
    tmp_path, monkeypatch, step
):
    file = tmp_path / "metrics.json"
    atomic.write_atomically(file, b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        atomic.write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_an_interrupt_during_a_write_leaves_the_old_content_and_no_temporary_file(
    tmp_path, monkeypatch
):
    file = tmp_path / "metrics.json"
    atomic.write_atomically(file, b"old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic.write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_files_are_readable_by_whom_the_umask_allows(tmp_path):
    old = os.umask(0o027)
    try:
        atomic.write_atomically(tmp_path / "a", b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
