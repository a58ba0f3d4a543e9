"""A program of the tests' own."""

import pytest

PROGRAM = """
from experiments import cli

def main(argv):
    {body}

cli.run(main{options})
"""


@pytest.fixture
def program_file(tmp_path):
    """Function that writes a program with the given body of `main`; returns its path."""

    def write(body, options=""):
        file = tmp_path / "program.py"
        file.write_text(PROGRAM.format(body=body, options=options))
        return file

    return write


@pytest.fixture
def program(program_file, run_python):
    """Function that runs a program with the given body of `main`."""
    return lambda body, *arguments, options="": run_python(program_file(body, options), *arguments)
