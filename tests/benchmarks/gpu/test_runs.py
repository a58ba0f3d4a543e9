"""The runs that the kit trains for a table are cells of it."""

import pathlib

import pytest
from absl import flags
from absl.testing import flagsaver

from benchmarks.gpu import training
from experiments import cli, sweep
from experiments.runs import naming
from experiments.training import flags as train_flags

ROOT = pathlib.Path(__file__).parents[3]
PROTOCOL = (f"--flagfile={ROOT}/experiments/presets/park2022.flags", "--precision=mixed_bfloat16")
CPU = f"--flagfile={ROOT}/experiments/presets/cpu.flags"


def cells(table, *own):
    """Name to recorded settings of the cells of a table."""
    own = (f"--table={table}", "--seeds=0,1,2", "--output_dir=out", *own)
    with flagsaver.flagsaver():
        flags.FLAGS(["sweep", *cli.with_flagfiles(own)])
        return {job.name: job.recorded() for job in sweep.plan().jobs if job.trains}


@pytest.mark.parametrize(
    ("file", "table", "protocol"),
    [
        ("methods.runs", "methods", (CPU,)),
        ("seeds.runs", "methods", (CPU,)),
        ("methods200.runs", "methods", PROTOCOL),
        ("table1.runs", "1", PROTOCOL),
        ("table2.runs", "2", PROTOCOL),
        ("table2_seeds.runs", "2", PROTOCOL),
    ],
)
def test_a_run_for_a_table_has_the_settings_of_its_cell(file, table, protocol, monkeypatch):
    monkeypatch.chdir(ROOT)
    known, names = cells(table, *protocol), {}
    runs = training.read((ROOT / "benchmarks" / "gpu" / file).read_text())
    for run, own in runs.items():
        own = [flag.replace("--dataset=all", "--dataset=cifar10") for flag in own]
        with flagsaver.flagsaver():
            flags.FLAGS(["train", *cli.with_flagfiles([*PROTOCOL, "--dataset=cifar10", *own])])
            given = train_flags.given_settings()
        first = given.pop("first_stage")
        found = train_flags.recorded({**given, "first_stage": None})
        found["lr_boundaries"] = [float(b) for b in found["lr_boundaries"]]
        found["first_stage"] = names[first.removeprefix("@")] if first else None
        names[run] = naming.run_name(found)
        assert found == known[names[run]]
    assert len(names) == len(runs) > 0
