"""`--help` of every program: its own flags, in groups, without TensorFlow."""

import json
import subprocess
import sys

import pytest

from tests import HANG_SECONDS
from tests.experiments.cases import ROOT

PROGRAMS = (
    *("train", "evaluate", "compare", "predict"),
    *("sweep", "report", "decision_boundary", "plots"),
)
# Runs a program with --help, then says which flags its modules define and what was imported.
SCRIPT = """
import json, runpy, sys
from absl import flags
name = sys.argv[1]
sys.argv[1:] = sys.argv[2:]
try:
    runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)
except SystemExit as end:
    status = end.code
modules = flags.FLAGS.flags_by_module_dict()
ours = [f.name for m, fs in modules.items() if not m.startswith("absl") for f in fs]
print(json.dumps({"status": status, "flags": ours, "modules": list(sys.modules)}), file=sys.stderr)
"""
HEAVY = {"tensorflow", "keras", "cb_keras", "tensorflow_datasets", "sklearn", "matplotlib"}
ABSLS_OWN = ("absl", "helpfull", "verbosity", "stderrthreshold", "pdb", "only_check_args")


def run_help(program, *arguments):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, program, *(arguments or ("--help",))],
        **{"cwd": ROOT, "capture_output": True, "text": True, "timeout": HANG_SECONDS},
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_lists_every_flag_of_the_program_once_in_a_group_and_imports_nothing_heavy(program):
    done = run_help(program)
    found = json.loads(done.stderr.splitlines()[-1])
    assert found["status"] == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not HEAVY & {module.split(".")[0] for module in found["modules"]}
    assert "Other flags" not in done.stdout  # each has a group
    given = [line.split("=")[0].strip() for line in done.stdout.splitlines() if line[:4] == "  --"]
    of_every_program = ["--flagfile", "--help"]
    listed = [flag.removeprefix("--").removeprefix("[no]") for flag in given]
    assert sorted(listed) == sorted([*found["flags"], *(f[2:] for f in of_every_program)])
    assert not [word for word in ABSLS_OWN if word in done.stdout]
    assert f"usage: python -m experiments.{program}" in done.stdout


def test_the_help_of_the_demo_names_no_flags_for_it_takes_none():
    done = run_help("demo")
    found = json.loads(done.stderr)
    assert not found["status"]
    assert not HEAVY & {module.split(".")[0] for module in found["modules"]}
    assert "python -m experiments.demo" in done.stdout
    assert "--" not in done.stdout


def test_help_comes_before_everything_else_that_is_asked_for():
    done = run_help("train", "--depth=9", "--no_such_flag", "-h")
    assert json.loads(done.stderr)["status"] == 0
    assert done.stdout.startswith("Trains a ResNet")


OPTIONS = ", arguments=('FROM',), groups={'Numbers': ('wide', 'many'), 'Words': ('kind', 'plots')}"
DEFINITIONS = """
from absl import flags
flags.DEFINE_enum("kind", "a", ["a", "b"], "Kind.")
flags.DEFINE_bool("plots", True, "Plots.")
flags.DEFINE_float("wide", 2e-4, "{words}")
flags.DEFINE_list("many", ["0.8", "0.9"], "Many.")
flags.DEFINE_integer("depth", None, "Depth.")
"""


@pytest.fixture
def with_flags(program_file, run_python, monkeypatch):
    """Function of (arguments, columns) that runs a program with some flags."""

    def run(*arguments, columns=80):
        monkeypatch.setenv("COLUMNS", str(columns))
        file = program_file("print('ran', argv[1:])", OPTIONS)
        words = "word " * 30
        doc = f'"""What it does. {words}\n\npython -m it --plots {words}\n"""\n'
        file.write_text(doc + DEFINITIONS.format(words=words) + file.read_text())
        return run_python(file, *arguments)

    return run


@pytest.mark.parametrize("asked", ["--help", "-h", "--helpshort", "-help", "-?"])
def test_help_has_types_choices_and_defaults_under_their_titles(with_flags, asked):
    done = with_flags(asked)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[0].startswith("What it does. word word")
    numbers, words, others = map(lines.index, ("Numbers:", "Words:", "Other flags:"))
    assert lines.index("--wide=NUMBER") == numbers + 1
    assert lines[lines.index("--many=LIST") + 1] == "Many. Default: 0.8,0.9."
    assert numbers < lines.index("--many=LIST") < words < lines.index("--kind=a|b") < others
    assert lines[lines.index("--kind=a|b") + 1] == "Kind. Default: a."
    assert lines[lines.index("--[no]plots") + 1] == "Plots. Default: true."
    assert lines[lines.index("--depth=INTEGER") + 1] == "Depth."
    assert "Default: 0.0002." in done.stdout


def test_help_is_wrapped_to_the_terminal_but_for_commands(with_flags):
    for columns, widest in ((60, 60), (500, 100)):
        lines = with_flags("--help", columns=columns).stdout.splitlines()
        commands = [line for line in lines if line.startswith(("python -m it", "usage:"))]
        assert len(commands[0]) > 100
        assert widest - 10 < max(len(line) for line in lines if line not in commands) <= widest


def test_what_only_looks_like_a_request_for_help_is_none(with_flags):
    assert with_flags("--kind=b", "--", "--help").stdout == "ran ['--help']\n"
