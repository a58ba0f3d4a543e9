"""Tables that are made of finished runs' records, without any training."""

import shutil

import pytest

from experiments.cli import UserError
from tests.experiments.sweeps.cases import TABLE_2, change, prepare, rows, run

OF_RECORDS = ("--table=2", "--output_dir=again", *TABLE_2[2:], "--records=records")


def text_without_command(path):
    return [line for line in path.read_text().splitlines() if not line.startswith("    python")]


def recorded(work):
    """Records of a finished sweep, moved out of it; the sweep as it was planned."""
    made = run(*TABLE_2)
    shutil.move(work / "out" / "runs", work / "records")
    (work / "calls.txt").unlink()
    return made


def test_records_give_the_table_that_their_sweep_wrote_and_nothing_is_trained(work):
    recorded(work)
    run(*OF_RECORDS)
    assert not (work / "calls.txt").exists()
    assert rows(work / "again") == rows(work / "out")
    table = work / "again" / "table2.md"
    assert text_without_command(table) == text_without_command(work / "out" / "table2.md")


def test_a_cell_without_a_record_is_not_finished_and_other_records_do_not_matter(work):
    made = recorded(work)
    shutil.rmtree(work / "records" / made.jobs[3].name)
    shutil.copytree(work / "records" / made.jobs[4].name, work / "records" / "another_table")
    change(work / "records" / "another_table" / "config.json", flags={"depth": 8})
    run(*OF_RECORDS)
    assert "1 of 12 runs are not finished yet." in (work / "again" / "table2.md").read_text()
    assert len(rows(work / "again")) == 11


def test_records_of_other_settings_or_of_nothing_are_refused(work):
    made = recorded(work)
    path = work / "records" / made.jobs[2].name / "config.json"
    flags = prepare(*TABLE_2).cells[2].settings
    change(path, flags={**flags, "batch_size": 32})
    with pytest.raises(UserError, match=r"--records=records holds a run with other settings.*32"):
        run(*OF_RECORDS)
    shutil.rmtree(work / "records")
    with pytest.raises(UserError, match=r"--records=records holds none of the 12 cells"):
        run(*OF_RECORDS)
    assert not (work / "again" / "table2.md").exists()
    assert not (work / "calls.txt").exists()
