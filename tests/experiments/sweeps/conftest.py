"""A working directory in which sweeps train nothing."""

import pytest

from experiments.sweeps.launchers import LAUNCHERS
from tests.experiments.sweeps.cases import launch


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working directory in which the stand-in of a launcher launches."""
    (tmp_path / "broken.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(LAUNCHERS, "local", launch)
    return tmp_path
