"""Tables in results/ are what their commands make of the records beside them, without training."""

import pathlib
import shlex
import subprocess
import sys

import pytest

from experiments.sweeps.tables import TABLES

ROOT = pathlib.Path(__file__).parents[3]
_SWEEP = "    python -m experiments.sweep "


def command_of(document):
    """The words of the sweep that a document names, which makes it of records; None without."""
    lines = document.read_text(encoding="utf-8").splitlines()
    command = shlex.split(next((line for line in lines if line.startswith(_SWEEP)), ""))
    return command if any(word.startswith("--records=") for word in command) else None


OF_RECORDS = {
    path: words for path in sorted(ROOT.glob("results/*.md")) if (words := command_of(path))
}


def option(words, name):
    return next(word for word in words if word.startswith(f"--{name}="))


def test_the_tables_that_are_made_of_records_are_found():
    assert "table2" in {path.stem for path in OF_RECORDS}


@pytest.mark.parametrize("committed", OF_RECORDS, ids=lambda path: path.stem)
def test_a_committed_table_is_remade_from_its_records(committed, tmp_path):
    words = OF_RECORDS[committed]
    there, table = option(words, "output_dir"), option(words, "table").partition("=")[2]
    made = [f"--output_dir={tmp_path}" if word == there else word for word in words[1:]]
    subprocess.run([sys.executable, *made], cwd=ROOT, check=True, capture_output=True)
    again = (tmp_path / TABLES[table].document).read_text(encoding="utf-8")
    assert again.replace(f"--output_dir={tmp_path}", there) == committed.read_text(encoding="utf-8")
    csv = committed.with_suffix(".csv").read_text(encoding="utf-8")
    assert (tmp_path / "results.csv").read_text(encoding="utf-8") == csv
