"""A number that a method gets later: names and records from before it stay what they are."""

import dataclasses
import pathlib
import shutil

import pytest

from experiments import methods
from experiments.methods.method import Parameter
from experiments.reporting import found
from experiments.runs import directory, files, naming
from experiments.sweeps import results
from experiments.training import flags as train_flags
from tests.experiments.cases import ROOT

RECORDS = [
    *sorted((ROOT / "results" / "runs").glob("*focal*"))[:2],
    *sorted((ROOT / "results" / "runs_methods").glob("*softmax_power0*"))[:2],
    *sorted((ROOT / "results" / "runs_methods").glob("*ldam*"))[:1],
]
SHIFT = Parameter("my_shift", 0.0, "Shift.", float, "shift")
BEND = Parameter("my_bend", 1.5, "Bend.", float, "bend")


@pytest.fixture
def later(monkeypatch):
    """Every method with one more number, and every loss of it with another."""
    for name, method in list(methods.METHODS.items()):
        losses = tuple(
            dataclasses.replace(loss, parameters=(*loss.parameters, BEND)) for loss in method.losses
        )
        parameters = (*method.parameters, SHIFT)
        grown = dataclasses.replace(method, losses=losses, parameters=parameters)
        monkeypatch.setitem(methods.METHODS, name, grown)
    for parameter in (SHIFT, BEND):
        monkeypatch.setitem(methods.PARAMETERS, parameter.name, parameter)
    monkeypatch.setattr(naming, "IN_NAME", naming.IN_NAME | {"my_shift", "my_bend"})
    usual = train_flags.protocol_defaults
    monkeypatch.setattr(
        *(train_flags, "protocol_defaults"), lambda: {**usual(), "my_shift": 0.0, "my_bend": 1.5}
    )


@pytest.fixture
def records(tmp_path):
    """A folder as of a sweep, with a copy of some of the committed records."""
    assert len(RECORDS) == 5
    for folder in RECORDS:
        shutil.copytree(folder, tmp_path / "runs" / folder.name)
    return tmp_path


def test_records_from_before_it_are_read_under_their_names(later, records):
    listed = found.find(records)
    assert not listed.damaged
    assert len(listed.runs) == len(RECORDS)
    assert len({run.rank for run in listed.runs}) > 1
    for folder in sorted((records / "runs").iterdir()):
        config, _ = directory.read_finished(folder)
        assert (config["flags"]["my_shift"], config["flags"]["my_bend"]) == (0.0, 1.5)
        assert naming.run_name(config["flags"]) == folder.name  # as of a cell asked for today
        assert "shift" not in methods.of(config["flags"]).label(config["flags"])
    runs, left_out = results.finished(records)
    assert len(runs) == len(RECORDS)
    assert not left_out
    first, *others = runs.values()
    assert "my_shift" not in results.csv_text([first, *others]).splitlines()[0]
    shifted = dataclasses.replace(first, settings={**first.settings, "my_shift": 0.25})
    header, *_ = results.csv_text([shifted, *others]).splitlines()
    assert header.endswith(",my_shift")  # its name tells it, and no other column does


def test_a_value_that_is_not_the_default_is_told(later):
    flags = files.read_config(pathlib.Path(RECORDS[0]) / "config.json")["flags"]
    changed = {**flags, "my_shift": 0.25, "my_bend": 2.0}
    name = naming.run_name(changed)
    assert "_bend2_" in name
    assert "_shift0.25" in name
    assert name.replace("_bend2", "").replace("_shift0.25", "") == RECORDS[0].name
    assert methods.of(changed).label(changed).endswith(", bend 2")


def test_numbers_of_today_are_in_every_name_and_words_are_not():
    flags = files.read_config(pathlib.Path(RECORDS[0]) / "config.json")["flags"]
    assert methods.PARAMETERS["gamma"].always_named
    assert naming.run_name(flags) == RECORDS[0].name
    with pytest.raises(ValueError, match="no name tells"):
        Parameter("my_word", "a", "Word.", float, "word", choices=("a", "b"), always_named=True)
