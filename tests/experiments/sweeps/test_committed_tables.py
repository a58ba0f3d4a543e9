"""Tables in results/ are what their commands make of the records beside them, without training."""

import pathlib
import shlex
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[3]
TABLES = ("table2",)


def command_of(document):
    """The words of the command that a document names."""
    lines = document.read_text(encoding="utf-8").splitlines()
    return shlex.split(next(line for line in lines if line.startswith("    python ")))


@pytest.mark.parametrize("name", TABLES)
def test_a_committed_table_is_remade_from_its_records(name, tmp_path):
    committed = ROOT / "results" / f"{name}.md"
    words = command_of(committed)
    there = next(word for word in words if word.startswith("--output_dir="))
    made = [f"--output_dir={tmp_path}" if word == there else word for word in words[1:]]
    subprocess.run([sys.executable, *made], cwd=ROOT, check=True, capture_output=True)
    again = (tmp_path / f"{name}.md").read_text(encoding="utf-8")
    assert again.replace(f"--output_dir={tmp_path}", there) == committed.read_text(encoding="utf-8")
    csv = committed.with_suffix(".csv").read_text(encoding="utf-8")
    assert (tmp_path / "results.csv").read_text(encoding="utf-8") == csv
