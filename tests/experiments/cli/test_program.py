"""Exit status and messages of the programs, each in a process of its own."""

import os
import subprocess
import sys

import pytest

from tests import HANG_SECONDS
from tests.experiments.cases import ROOT


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


@pytest.mark.parametrize(
    ("given", "error"),
    [((), "FROM FILES is missing"), (("a",), "FILES is missing"), (("a", "b", "c"), None)],
)
def test_of_an_argument_that_ends_in_dots_there_may_be_more(program, given, error):
    done = program("print(argv[1:])", *given, options=", arguments=('FROM', 'FILES...')")
    given_them = f"error: {error}: give it after the program.\n" if error else ""
    assert (done.stderr, done.stdout) == (given_them, "" if error else f"{list(given)}\n")


def test_an_interrupt_ends_with_exit_status_130_and_no_traceback(program):
    done = program("raise KeyboardInterrupt")
    assert done.returncode == 130  # 128 + SIGINT, as shells report it
    assert done.stderr.strip() == "interrupted"
    done = program("raise KeyboardInterrupt('epoch 3 is saved')")
    assert (done.returncode, done.stderr.strip()) == (130, "interrupted: epoch 3 is saved")


def test_an_unknown_flag_is_refused_by_name(program):
    done = program("print('ran')", "--no_such_flag=1")
    assert done.returncode != 0
    assert "no_such_flag" in done.stderr
    assert "ran" not in done.stdout


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
