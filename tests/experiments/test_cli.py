"""Exit status and messages of the programs, each in a process of its own."""

import pytest

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
