"""Trainings of the kit that begin with the runs of others."""

import json
import time

from benchmarks.gpu import training
from benchmarks.gpu.stages import Stage


def test_a_run_whose_first_was_trained_by_an_earlier_call_begins_at_once(
    tmp_path, make_kit, monkeypatch
):
    (tmp_path / "t.runs").write_text("first: --x=1\nsecond: --first_stage=@first\n")
    (tmp_path / "cifar10_tail.npz").touch()
    known = {"first": {"ok": True, "seconds": 1.0, "figures": {}}}
    (tmp_path / "training.json").write_text(json.dumps({"steps": known}))
    kit = make_kit(runs=tmp_path / "t.runs", at_once=2)
    monkeypatch.setattr(training, "_train", lambda stage, name, flags: {"trained": name})
    stage = Stage(kit, "training", 60.0)
    start = time.monotonic()
    training.run(stage)
    assert stage.saved["steps"]["second"]["figures"] == {"trained": "second"}
    assert time.monotonic() - start < 30.0  # it does not wait for what has ended
