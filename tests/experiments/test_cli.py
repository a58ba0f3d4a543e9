"""Exit status and messages of the programs, each in a process of its own."""

import os
import pwd
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf

from experiments import demo, evaluate, report, sweep, train
from experiments.cli import UserError, local_path, with_flagfiles
from tests import HANG_SECONDS
from tests.experiments.cases import ROOT, contents, run_program
from tests.experiments.report_folders import write_run

PROGRAM = """
from experiments import cli

def main(argv):
    {body}

cli.run(main{options})
"""


@pytest.fixture
def program(tmp_path, run_python):
    """Function that runs a program with the given body of `main`."""

    def run(body, *arguments, options=""):
        file = tmp_path / "program.py"
        file.write_text(PROGRAM.format(body=body, options=options))
        return run_python(file, *arguments)

    return run


def test_a_program_that_returns_has_exit_status_0(program):
    done = program("print('fine')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")


def test_a_user_error_is_one_line_and_exit_status_2(program):
    done = program("raise cli.UserError('--depth must be 6n + 2, got 33.')")
    assert done.returncode == 2
    assert done.stderr == "error: --depth must be 6n + 2, got 33.\n"
    assert done.stdout == ""


def test_any_other_error_keeps_its_traceback(program):
    done = program("raise ZeroDivisionError('a bug')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError: a bug" in done.stderr


def test_a_positional_argument_is_refused_with_the_remedy(program):
    done = program("print('ran')", "digits")
    assert done.returncode == 2
    assert (
        done.stderr
        == "error: unexpected argument 'digits': all settings are flags, --name=value.\n"
    )
    assert "ran" not in done.stdout


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ((), "FROM TO is missing: give it after the program."),
        (("a",), "TO is missing: give it after the program."),
        (
            ("a", "b", "c"),
            "unexpected argument 'c': besides FROM TO all settings are flags, --name=value.",
        ),
        (("a", "b"), None),
    ],
)
def test_a_program_takes_the_arguments_that_it_names_no_more_no_fewer(program, given, error):
    done = program("print(argv[1:])", *given, options=", arguments=('FROM', 'TO')")
    assert done.returncode == (2 if error else 0)
    assert done.stderr == (f"error: {error}\n" if error else "")
    assert done.stdout == ("" if error else "['a', 'b']\n")


def test_an_interrupt_ends_with_exit_status_130_and_no_traceback(program):
    done = program("raise KeyboardInterrupt")
    assert done.returncode == 130  # 128 + SIGINT, as shells report it
    assert done.stderr.strip() == "interrupted"


def test_an_unknown_flag_is_refused_by_name(program):
    done = program("print('ran')", "--no_such_flag=1")
    assert done.returncode != 0
    assert "no_such_flag" in done.stderr
    assert "ran" not in done.stdout


def test_train_reports_a_wrong_flag_on_one_line_and_leaves_no_folder(run_python, tmp_path):
    folder = tmp_path / "run"
    done = run_python("-m", "experiments.train", "--imbalance_factor=50", f"--output_dir={folder}")
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "use 1/50 = 0.02" in errors[0]
    assert "Traceback" not in done.stderr
    assert not folder.exists()


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_what_a_terminal_can_not_show_is_escaped_and_ends_nothing(program, monkeypatch, encoding):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    done = program("print(chr(0xe4), chr(0xdcff)); raise cli.UserError(chr(0xe4) + chr(0xdcff))")
    letter = r"\xe4" if encoding == "ascii" else "ä"
    assert (done.stdout, done.stderr) == (rf"{letter} \udcff" "\n", rf"error: {letter}\udcff" "\n")


# Output that nobody reads


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_program_whose_output_is_closed_goes_on_to_its_end(tmp_path, stream, unbuffered):
    write = f"print('x' * 99_999, file=sys.{stream}, flush=True); "
    child = "subprocess.run('echo x; echo x >&2', shell=True, check=True); "
    body = f"import pathlib, subprocess, sys; {write * 2}{child}{write}"
    body += "pathlib.Path('end').touch(); print(1, end='')"
    (tmp_path / "program.py").write_text(PROGRAM.format(body=body, options=""))
    done = run_unread(tmp_path, [tmp_path / "program.py"], stream, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 0
    assert (tmp_path / "end").exists()
    others = {"stdout": done.stderr, "stderr": done.stdout}[stream]
    assert others == {"stdout": b"x\n", "stderr": b"x\n1"}[stream]


def run_unread(folder, arguments, stream, **environment):
    """Runs Python in the folder with this stream going into a pipe that is closed at its end."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            timeout=HANG_SECONDS,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writer},
        )
    finally:
        os.close(writer)


def test_a_report_that_nobody_hears_of_is_written(tmp_path):
    write_run(tmp_path / "run")
    done = run_unread(tmp_path, ["-m", "experiments.report", "run"], "stdout")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000


def test_an_error_that_nobody_reads_keeps_its_exit_status(tmp_path):
    arguments = ["-m", "experiments.report", "run"]
    assert run_unread(tmp_path, arguments, "stderr").returncode == 2


def test_output_on_a_full_disk_is_not_lost_in_silence(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM.format(body="print(1, flush=True)", options=""))
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, tmp_path / "program.py"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=HANG_SECONDS,
        )
    assert done.returncode != 0
    assert b"No space left on device" in done.stderr


# Paths


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


@pytest.mark.parametrize("program", ["train", "report", "decision_boundary"])
def test_a_program_that_is_started_as_a_file_says_how_it_is_started(tmp_path, program):
    done = subprocess.run(
        [sys.executable, ROOT / "experiments" / f"{program}.py", "--help"],
        **{"cwd": tmp_path, "capture_output": True, "text": True, "timeout": HANG_SECONDS},
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 1
    start = f"python -m experiments.{program}"
    line = f"error: the programs are modules: from the root of the clone, {start}"
    assert done.stderr.splitlines()[-1] == line
    assert "Traceback" not in done.stderr


def test_the_report_takes_no_url_for_a_folder(tmp_path):
    with pytest.raises(UserError, match="RUNS_DIR=gs://b/r is a URL"):
        report.write("gs://b/r")


# Flagfiles


def test_a_flagfile_of_a_windows_editor_is_read(tmp_path, monkeypatch):
    lines = ["--loss=focal", "# text", "  --flagfile=~/b.flags", "// text", "", "--x=ä"]
    (tmp_path / "a.flags").write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    (tmp_path / "b.flags").write_bytes("--gamma=2\r\n".encode("utf-8-sig"))
    monkeypatch.setenv("HOME", str(tmp_path))
    read = ["--loss=focal", "--gamma=2", "--x=ä"]
    flag = f"--flagfile={tmp_path / 'a.flags'}"
    assert with_flagfiles(["--a=1", flag, "b"]) == ["--a=1", *read, "b"]
    assert with_flagfiles([*flag.split("="), "--", flag]) == [*read, "--", flag]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("--a=1".encode("utf-16"), "is UTF-16 or UTF-32; save it as UTF-8."),
        (b"--a=\xff", "is not UTF-8 text (byte 4); save it as UTF-8."),
        (b"--flagfile=FILE", "holds itself; take that line out of it."),
        (b"--flagfile=", "--flagfile is empty; name a local path"),
        (b"--flagfile", "--flagfile is empty; name a local path"),
        (b"--flagfile=missing.flags", "missing.flags can't be read (No such file or directory)"),
    ],
)
def test_a_flagfile_that_can_not_be_read_is_refused_in_words(tmp_path, content, words):
    path = tmp_path / "a.flags"
    path.write_bytes(content.replace(b"FILE", str(path).encode()))
    with pytest.raises(UserError) as caught:
        with_flagfiles([f"--flagfile={path}"])
    assert words in str(caught.value)


def test_a_program_reads_its_flagfiles_so(program, tmp_path):
    (tmp_path / "a.flags").write_text("--verbosity=1\n", encoding="utf-8-sig")
    body = "from absl import flags; print(flags.FLAGS.verbosity)"
    done = program(body, f"--flagfile={tmp_path / 'a.flags'}")
    assert (done.stdout, done.stderr) == ("1\n", "")
    done = program(body, "--flagfile=")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --flagfile is empty")
