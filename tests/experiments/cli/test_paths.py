"""Paths that no local file can have, and those that mean what the user meant."""

import os
import pwd
import shutil

import pytest
import tensorflow as tf

from experiments import demo, evaluate, sweep, train
from experiments.cli import UserError, local_path
from experiments.reporting import page
from tests.experiments.cases import contents, run_program


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "--to is empty; name a local path, or leave --to out."),
        ("  ", "--to is empty"),
        ("a ", "--to='a ' begins or ends with white space"),
        ("a\n", r"--to='a\n' begins or ends with white space or holds a control character"),
        ("a\0b", r"--to='a\x00b' begins or ends with white space or holds a control character"),
        ("gs://b/r", "--to=gs://b/r is a URL; these programs use local files: name a local path"),
        ("file:///x", "--to=file:///x is a URL; these programs use local files: leave file:// out"),
        ("~nobody_here/x", "the home folder is not known here; give the whole path, or ./~nobody"),
        ("\udcff", r"--to='\udcff' is not a name in utf-8, the encoding of file names here: set"),
    ],
)
def test_a_path_that_no_local_file_can_have_is_refused_in_words(given, words):
    with pytest.raises(UserError) as caught:
        local_path("--to", given)
    assert words in str(caught.value)


def test_a_home_folder_is_put_in_where_the_shell_did_not(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_path("--to", "~/a/") == tmp_path / "a"
    assert local_path("--to", "~") == tmp_path
    user = pwd.getpwuid(os.getuid())
    assert str(local_path("--to", f"~{user.pw_name}/a")) == os.path.join(user.pw_dir, "a")
    assert str(local_path("--to", "a/~/b:c")) == "a/~/b:c"
    assert local_path("--to", None) is None


@pytest.mark.parametrize("given", ["./~x", "./~", ".//~x/a", "a/~x", "~/a", "~/~x", "a"])
def test_a_path_that_is_looked_at_twice_is_the_same(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    once = local_path("--to", given)
    assert local_path("--to", once) == once
    if given.startswith("."):
        assert once.absolute() == tmp_path / given


def test_an_empty_home_is_not_the_root_folder(monkeypatch):
    monkeypatch.setenv("HOME", "")
    with pytest.raises(UserError, match="--to=~/a: the home folder is not known here"):
        local_path("--to", "~/a")


def test_a_name_that_the_file_system_can_not_have_here_is_refused(program, monkeypatch):
    for name, value in (("LC_ALL", "C"), ("PYTHONUTF8", "0"), ("PYTHONCOERCECLOCALE", "0")):
        monkeypatch.setenv(name, value)
    done = program("cli.local_path('--to', chr(246))")
    assert done.returncode == 2
    assert r"--to='\xf6' is not a name in ascii" in done.stderr
    assert "set PYTHONUTF8=1" in done.stderr


@pytest.mark.parametrize(
    ("main", "flags"),
    [
        (train.main, ["--output_dir"]),
        (train.main, ["--output_dir=a", "--data_dir"]),
        (sweep.main, ["--table=2", "--output_dir"]),
        (evaluate.main, ["--saved_model"]),
        (evaluate.main, ["--saved_model=a", "--output"]),
        (evaluate.main, ["--saved_model=a", "--data_dir"]),
    ],
)
def test_no_program_takes_a_url_for_a_folder(capsys, tmp_path, monkeypatch, main, flags):
    monkeypatch.chdir(tmp_path)
    *others, last = flags
    status, line = run_program(capsys, main, *others, f"{last}=gs://b/r")
    assert (status, line.split(";")[0]) == (2, f"error: {last}=gs://b/r is a URL")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["lr=[0.1]", "back\\slash"])
@pytest.mark.slow
def test_a_folder_that_no_saved_model_can_be_loaded_from_is_refused_before_anything_is_done(
    capsys, tmp_path, monkeypatch, short_run, name
):
    refusal = f"such as {tmp_path / name}"
    digits = ("--dataset=digits", "--depth=8")

    def refused(main, *flags):
        status, line = run_program(capsys, main, *flags)
        assert status == 2
        assert "TensorFlow can't load a SavedModel from a path with square brackets" in line
        assert refusal in line

    refused(train.main, *digits, f"--output_dir={tmp_path / name / 'run'}")
    refused(sweep.main, *digits, "--table=2", f"--output_dir={tmp_path / name / 'run'}")
    assert list(tmp_path.iterdir()) == []
    shutil.copytree(short_run.folder, tmp_path / name)
    refused(evaluate.main, *digits, f"--saved_model={tmp_path / name / 'saved_model'}")
    before = contents(tmp_path)
    monkeypatch.chdir(tmp_path / name)
    refused(train.main, *digits)  # where its default folder would be
    refused(train.main, *digits, "--output_dir=run")
    refused(lambda _: demo.plan("runs/demo"))
    refused(evaluate.main, *digits, "--saved_model=saved_model")
    assert contents(tmp_path) == before
    # Without the check it is TensorFlow that fails, and the fix is all that helps.
    with pytest.raises(FileNotFoundError):
        tf.saved_model.load(str(tmp_path / name / "saved_model"))
    (tmp_path / name).rename(tmp_path / "renamed ][{}*?#%")
    tf.saved_model.load(str(tmp_path / "renamed ][{}*?#%" / "saved_model"))


def test_the_report_takes_no_url_for_a_folder():
    with pytest.raises(UserError, match="RUNS_DIR=gs://b/r is a URL"):
        page.write("gs://b/r")
