"""Trainings of the kit that begin with the runs of others."""

import json
import shutil
import time

from benchmarks.gpu import training, unfinished
from benchmarks.gpu.stages import Stage, StepFailed


def test_a_run_whose_first_was_trained_by_an_earlier_call_begins_at_once(
    tmp_path, make_kit, monkeypatch
):
    (tmp_path / "t.runs").write_text("first: --x=1\nsecond: --first_stage=@first\n")
    (tmp_path / "cifar10_tail.npz").touch()
    known = {"first": {"ok": True, "seconds": 1.0, "figures": {}}}
    (tmp_path / "training.json").write_text(json.dumps({"steps": known}))
    kit = make_kit(runs=(tmp_path / "t.runs",), at_once=2)
    monkeypatch.setattr(training, "_train", lambda stage, name, flags, **_: {"trained": name})
    stage = Stage(kit, "training", 60.0)
    start = time.monotonic()
    training.run(stage)
    assert stage.saved["steps"]["second"]["figures"] == {"trained": "second"}
    assert time.monotonic() - start < 30.0  # it does not wait for what has ended


def test_a_training_that_ran_out_of_time_goes_on_on_another_machine(
    tmp_path, make_kit, monkeypatch, capsys
):
    (tmp_path / "t.runs").write_text("long: --x=1\nshort: --x=2\n")
    (tmp_path / "cifar10_tail.npz").touch()
    kit = make_kit(runs=(tmp_path / "t.runs",))
    folder = tmp_path / "runs" / "long"
    begun = []

    def train(stage, name, flags, **_):
        begun.append((name, (folder / "checkpoint" / "state.npz").exists()))
        if len(begun) == 1:
            (folder / "checkpoint").mkdir(parents=True)
            (folder / "checkpoint" / "state.npz").write_bytes(b"of 7 epochs")
            (folder / "checkpoint" / "previous.npz").write_bytes(b"of 6 epochs")
            (folder / "history.csv").write_text("epoch\n")
            raise StepFailed("exit status none after 60 s")
        return {"trained": name}

    monkeypatch.setattr(training, "_train", train)
    training.run(Stage(kit, "training", 60.0))
    assert "not ended, kept for the next call: long\n" in capsys.readouterr().out
    assert (tmp_path / unfinished.FILE).exists()
    shutil.rmtree(tmp_path / "runs")  # the next machine has the output folder alone
    training.run(Stage(kit, "training", 60.0))
    assert begun == [("long", False), ("short", True), ("long", True)]
    found = {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*.*")}
    assert found == {"checkpoint/state.npz": b"of 7 epochs", "history.csv": b"epoch\n"}
    assert not (tmp_path / unfinished.FILE).exists()  # all have ended


def test_what_would_make_the_archive_too_large_is_left_out_and_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(unfinished, "MOST_BYTES", 25)
    folders = {}
    for name, size in (("first", 10), ("huge", 20), ("small", 5), ("not begun", None)):
        folders[name] = tmp_path / name
        (folders[name] / "checkpoint").mkdir(parents=True)
        if size is not None:
            (folders[name] / "checkpoint" / "state.npz").write_bytes(b"0" * size)
    unfinished.save(folders, tmp_path / "kept.tar")
    assert unfinished.take(tmp_path / "kept.tar", tmp_path / "there") == ["first", "small"]
    assert "not ended, too large for kept.tar: huge\n" in capsys.readouterr().out
    assert unfinished.take(tmp_path / "kept.tar", tmp_path) == []  # what is there stays
    assert unfinished.take(tmp_path / "none.tar", tmp_path) == []
